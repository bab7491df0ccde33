"""Isolation of partition keys: every search says of which one tenant it is.

Where a collection has the property `partitionkey.isolation`, the filter of a search holds `key == value` as a term that
all rows it finds must meet. It is looked for in what the client wrote, not in what that comes to.
"""

from __future__ import annotations

from elanus.expr import tree
from elanus.expr.parser import parse
from elanus.model.errors import InvalidParameter

_NAMES = {
    "<": "LessThan", "<=": "LessEqual", ">": "GreaterThan", ">=": "GreaterEqual", "!=": "NotEqual", "like": "Match"
}  # fmt: skip


def check_isolated(expression: str, key: str) -> None:
    """Raise `InvalidParameter` unless the filter `expression` is of one value of the partition key `key`."""
    if not (expression.strip() and _names_tenant(parse(expression).root, key)):
        raise InvalidParameter(
            "partition key not found in expr or the expr is invalid when validating partition key isolation: "
            f"say {key} == <value>"
        )


def _names_tenant(node: tree.Node, key: str) -> bool:
    """Whether `node` holds for one tenant alone. Raises for what is said of tenants in another way."""
    match node:
        case tree.And(terms=terms):
            found = [_names_tenant(term, key) for term in terms]  # all of them: each may be refused
            return any(found)
        case tree.Or(terms=terms):
            found = [_names_tenant(term, key) for term in terms]
            if any(found):
                raise _refused("OR")
        case tree.Not(operand=operand):
            if _names_tenant(operand, key):
                raise _refused("NOT")
        case tree.Membership(operand=operand, negated=negated) if _is(operand, key):
            raise _refused("NOT" if negated else "IN")
        case tree.Chain(middle=middle) if _is(middle, key):
            raise _refused("BinaryRange")
        case tree.Like(operand=operand) if _is(operand, key):
            raise _refused(_NAMES["like"])
        case tree.Comparison(op=op, left=left, right=right) if _is(left, key) or _is(right, key):
            if op != "==":
                raise _refused(_NAMES[op])
            return _is_constant(left if _is(right, key) else right)
        case _:
            pass
    return False


def _is_constant(node: tree.Node) -> bool:
    while isinstance(node, tree.Unary):
        node = node.operand
    return isinstance(node, (tree.Literal, tree.Template))


def _is(node: tree.Node, key: str) -> bool:
    return isinstance(node, tree.Name) and node.name == key


def _refused(what: str) -> InvalidParameter:
    return InvalidParameter(f"partition key isolation does not support {what}")
