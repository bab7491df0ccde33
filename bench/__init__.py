"""Measures Elanus against its bounds. Run by `make bench`, or in part: `python -m bench search insert open count`."""
