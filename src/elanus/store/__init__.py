"""Where bytes are kept: the disk, immutable objects put if absent, and values with a history. Knows model."""
