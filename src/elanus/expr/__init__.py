"""The filter language: text → tree → tree bound to a schema → three-valued mask.

    compile_filter(text, schema, params)      all of it, cached
        parse(text) -> Expression             lexer.py, parser.py, tree.py: what was written
        bind(expression, schema, params)      bind.py, constants.py, typed.py: what it means for this schema
        BoundFilter.evaluate(columns, rows)   bound.py, evaluate.py, json_path.py, …: which rows it holds for

Milvus's grammar is followed. A new function or operator adds a syntax node (or none: `name(…)` already parses to
`tree.Call`), a typed node with its rule in `bind`, and a function in `evaluate`'s table.
"""
