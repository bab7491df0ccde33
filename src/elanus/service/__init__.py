"""The whole API, protocol-neutral: one module per subject, and every function takes a `RequestContext`.

Names are resolved here, limits are checked, filters compiled, the engine is called; what comes back is Arrow, numpy
and frozen dataclasses. The wire and the native API add nothing but their own clothes.
"""
