"""The ``--where`` grammar: one small language to choose sections and pairs, shared by list, fetch and load.

Column names, text, numbers, ``True``/``False``, lists of those, ``== != < <= > >= in not in``, ``and or not`` and
parentheses. The text is parsed, checked node by node against this list and then walked; it is never evaluated.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, NoReturn, cast

from humanst.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CHARACTERS = 20_000
MAX_DEPTH = 40
_ORDERED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_GRAMMAR = "columns, text, numbers, lists, == != < <= > >= in not in, and or not, parentheses"


@dataclass(frozen=True, slots=True)
class Where:
    """A checked expression.

    Attributes
    ----------
    text
        As given.
    columns
        The columns it names, sorted: all that a table must have.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr

    def mask(self, table: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Evaluate over columns at once.

        Parameters
        ----------
        table
            Column name -> (n,) array; anything with ``table[name]`` (a dict of arrays, a DataFrame, an Arrow table).

        Returns
        -------
        NDArray of bool
            (n,), true where the expression holds. A missing value (NaN, null) equals nothing and is in no order.

        Raises
        ------
        UsageError
            When a column of text is compared with a number, or the other way round.
        """
        columns = {name: _operand(table[name]) for name in self.columns}
        return _holds(self._tree, columns)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Evaluate for one row: column name -> text, number or boolean.

        Raises
        ------
        UsageError
            See :meth:`mask`.
        """
        columns = {name: _operand([row[name]]) for name in self.columns}
        return bool(_holds(self._tree, columns)[0])


def compile_where(text: str, columns: Iterable[str]) -> Where:
    """Check an expression against the grammar and the columns there are.

    Parameters
    ----------
    text
        For example ``tissue == 'breast' and platform in ('visium', 'xenium') and n_counts >= 500``.
    columns
        Names that may be used.

    Raises
    ------
    UsageError
        For anything else, with its position and the columns there are.
    """
    known = tuple(sorted(columns))
    if len(text) > MAX_CHARACTERS:
        _fail(known, "the expression is too long", f"{len(text):,} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        position = getattr(error, "offset", None) or 1
        _fail(known, f"not an expression (position {position})", repr(text[:200]))
    used: set[str] = set()
    _check(tree, text, known, used, 0)
    return Where(text=text, columns=tuple(sorted(used)), _tree=tree)


def _check(node: ast.expr, text: str, known: tuple[str, ...], used: set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        _refuse(text, known, node, "nested too deep")
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check(value, text, known, used, depth + 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand, text, known, used, depth + 1)
    elif isinstance(node, ast.Compare):
        _check_compare(node, text, known, used)
    else:
        _refuse(text, known, node, "not a condition")


def _check_compare(node: ast.Compare, text: str, known: tuple[str, ...], used: set[str]) -> None:
    sides = [node.left, *node.comparators]
    for position, side in enumerate(sides):
        member_of = position > 0 and isinstance(node.ops[position - 1], ast.In | ast.NotIn)
        if isinstance(side, ast.Name) and not member_of:
            if side.id not in known:
                _refuse(text, known, side, "no such column")
            used.add(side.id)
        elif member_of:
            if not isinstance(side, ast.List | ast.Tuple) or not side.elts or position != len(sides) - 1:
                _refuse(text, known, side, "not a list of values")
            for item in side.elts:
                _check_literal(item, text, known)
        else:
            _check_literal(side, text, known)
    for op in node.ops:
        if type(op) not in _ORDERED and not isinstance(op, ast.In | ast.NotIn):
            _refuse(text, known, node, f"{type(op).__name__} is not in the grammar")
    if not any(isinstance(side, ast.Name) for side in sides):
        _refuse(text, known, node, "names no column")


def _check_literal(node: ast.expr, text: str, known: tuple[str, ...]) -> None:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    constant = node.operand if isinstance(node, ast.UnaryOp) and negative else node
    if not isinstance(constant, ast.Constant) or type(constant.value) not in (str, int, float, bool):
        _refuse(text, known, node, "not a column, text or number")
    if negative and type(constant.value) not in (int, float):
        _refuse(text, known, node, "only a number can be negative")


@dataclass(frozen=True, slots=True)
class _Operand:
    """One side of a comparison: (n,) or 0-d values, where they are present, and whether they are text or numbers."""

    values: NDArray[Any]
    there: NDArray[np.bool_]
    kind: str


def _operand(values: Any) -> _Operand:
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return _Operand(array, np.asarray(array == array), "numbers")
    if array.dtype.kind in "UST":
        return _Operand(array.astype(object), np.ones(array.shape, dtype=np.bool_), "text")
    there = np.array([value is not None and value == value for value in array.ravel()], dtype=np.bool_)
    first = next(iter(array.ravel()[there]), None)
    # A column without any value has no kind: it compares with everything, and is never equal or in order.
    kind = "" if first is None else "text" if isinstance(first, str) else "numbers"
    return _Operand(array.astype(object), there.reshape(array.shape), kind)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp):
        return -_literal(node.operand)
    return node.value if isinstance(node, ast.Constant) else None


def _holds(node: ast.expr, columns: Mapping[str, _Operand]) -> NDArray[np.bool_]:
    """Evaluate a checked condition to a (n,) mask."""
    if isinstance(node, ast.BoolOp):
        parts = [_holds(value, columns) for value in node.values]
        return reduce(operator.and_ if isinstance(node.op, ast.And) else operator.or_, parts)
    if isinstance(node, ast.UnaryOp):
        return ~_holds(node.operand, columns)
    compare = cast("ast.Compare", node)
    sides = [compare.left, *compare.comparators]
    pairs = zip(sides[:-1], compare.ops, sides[1:], strict=True)
    return reduce(operator.and_, [_compare(left, op, right, columns) for left, op, right in pairs])


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Mapping[str, _Operand]) -> NDArray[np.bool_]:
    a = columns[left.id] if isinstance(left, ast.Name) else _operand(_literal(left))
    if isinstance(right, ast.List | ast.Tuple):
        found = _member(a, [_literal(item) for item in right.elts], left, right)
        return ~found if isinstance(op, ast.NotIn) else found
    b = columns[right.id] if isinstance(right, ast.Name) else _operand(_literal(right))
    _same_kind(a.kind, b.kind, left, right)
    if isinstance(op, ast.NotEq):
        return ~_where_there(operator.eq, a, b)
    return _where_there(_ORDERED[type(op)], a, b)


def _member(a: _Operand, items: list[Any], left: ast.expr, right: ast.expr) -> NDArray[np.bool_]:
    import numpy as np

    for item in items:
        _same_kind(a.kind, "text" if isinstance(item, str) else "numbers", left, right)
    wanted = frozenset(items)
    found = np.array([value in wanted for value in a.values.ravel().tolist()], dtype=np.bool_)
    return a.there & found.reshape(a.values.shape)


def _where_there(compare: Callable[[Any, Any], Any], a: _Operand, b: _Operand) -> NDArray[np.bool_]:
    """Compare where both sides have a value; false elsewhere."""
    import numpy as np

    if a.values.dtype.kind != "O" and b.values.dtype.kind != "O":
        return np.asarray(compare(a.values, b.values) & a.there & b.there, dtype=np.bool_)
    there = np.asarray(a.there & b.there)
    left, right = (np.broadcast_to(side.values, there.shape)[there] for side in (a, b))
    result = np.zeros(there.shape, dtype=np.bool_)
    result[there] = np.asarray(compare(left, right), dtype=np.bool_)
    return result


def _same_kind(a: str, b: str, left: ast.expr, right: ast.expr) -> None:
    if a and b and a != b:
        raise UsageError(
            f"Text and numbers are compared (position {left.col_offset + 1})",
            code="where-kinds",
            field="--where",
            expected="both sides text, or both numbers",
            found=f"{ast.unparse(left)} ({a}) with {ast.unparse(right)} ({b})",
            todo="Put text in quotes, and leave numbers without",
        )


def _refuse(text: str, known: tuple[str, ...], node: ast.AST, why: str) -> NoReturn:
    position = getattr(node, "col_offset", 0) + 1
    _fail(known, f"{why} (position {position})", repr(ast.get_source_segment(text.strip(), node) or text)[:200])


def _fail(known: tuple[str, ...], why: str, found: str) -> NoReturn:
    raise UsageError(
        f"The --where expression cannot be used: {why}",
        code="where",
        field="--where",
        expected=f"{_GRAMMAR}; columns are {', '.join(known)}",
        found=found,
        todo="For example: organ == 'breast' and platform in ('visium', 'st')",
    )
