"""Jobs: pure work from immutable inputs to immutable outputs, made real by a manifest commit.

Each job is a generator: it yields the name of a step it has finished, and does its work in between. Run to its end it
is the job; stepped by a test it lets any write, read or other job happen between any two of its steps. Running a job
twice, or half, does no harm: what it wrote is garbage until its commit, and its commit is one put-if-absent.
"""
