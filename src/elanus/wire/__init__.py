"""The wires: how requests of Milvus clients reach the services, and answers go back."""
