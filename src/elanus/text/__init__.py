"""Text: analyzers, which make tokens of it, and what of a text a query of words matches."""
