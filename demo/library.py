"""The collection of passages: everything here that touches Elanus."""
