"""The demonstration: search the documentation of the Python standard library. Run by `make demo`."""
