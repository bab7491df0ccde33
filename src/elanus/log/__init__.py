"""The write-ahead log: records, frames, files, and the group commit that makes them durable. Knows model, store."""
