"""What operators need: look into a folder, and check it."""
