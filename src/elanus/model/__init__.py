"""What everything else speaks of: types, schemas, batches, timestamps, errors. Knows nobody."""
