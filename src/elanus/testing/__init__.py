"""Test tools that ship with Elanus: disks that fail, disks that remember, and what a power failure may leave.

For tests of Elanus and of what is built on it. Knows model, store, log.
"""
