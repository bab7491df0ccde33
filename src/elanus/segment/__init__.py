"""The rows of a collection: growing segments in memory, sealed ones in mapped files, and the deletes of both."""
