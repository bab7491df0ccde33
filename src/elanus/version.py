"""The version of Elanus, in this one place; the package metadata is made from it."""

__version__ = "0.1.0"
