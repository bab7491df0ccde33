"""Milvus's gRPC protocol: one module per subject, each a table from the name of an RPC to the function that answers it.

Such a function takes a `Call` and the request message and returns the response message; it raises an `ElanusError`
where a request is wrong, which `dispatch` turns into a response that says so. It knows nothing of sockets: the server
calls it for a request from the network, and `channel` for one from a client in the same process.
"""
