"""Libraries that people use with Milvus, as they come from their registries, against a real `elanus serve`."""
