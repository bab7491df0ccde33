"""What exists and how it is called: databases, collections and aliases, and the number of the writer."""
