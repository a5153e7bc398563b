"""Named expressions of constraints: what may stand in one, and its value.

Here: reading, the names it asks for, evaluating, and the values found. Not here: what a constraint is (`constraints`,
`spec.constraints`).

Expressions stand in YAML and in files of briefs, so they are data: nothing of Python is reached from one. simpleeval
evaluates them; what it allows beyond arithmetic, comparisons, lists and a few functions (attributes of objects,
methods, powers) is refused while reading.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from simpleeval import DEFAULT_OPERATORS, AttributeDoesNotExist, EvalWithCompoundTypes, InvalidExpression

LONGEST = 500
"""Characters of an expression; it bounds how deep one can be nested, too."""
FUNCTIONS = {
    "abs": abs, "all": all, "any": any, "len": len, "max": max, "min": min, "round": round, "sum": sum,
}  # fmt: skip
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_UNARY = (ast.Not, ast.USub, ast.UAdd)
_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, *_UNARY, ast.BinOp, *_ARITHMETIC, ast.Compare,
    *_COMPARISONS, ast.IfExp, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Constant, ast.List,
    ast.Tuple, ast.Call, ast.GeneratorExp, ast.ListComp, ast.comprehension,
)  # fmt: skip
_CONSTANTS = (bool, int, float, str, type(None))
_FAILURES = (
    InvalidExpression, TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, OverflowError, RecursionError,
)  # fmt: skip
_SHOWN = 60


class ExpressionError(ValueError):
    """An expression that cannot be read or has no value; the text says why."""


class Expression:
    """An expression that was read: `page_kb <= brief.max_kb`, `all(step.seconds < 30 for step in steps)`."""

    def __init__(self, text: str) -> None:
        """Read it.

        Raises:
            ExpressionError: it is too long, no expression, or asks for something that none may.
        """
        self.text = text.strip()
        if not self.text or len(self.text) > LONGEST:
            raise ExpressionError(f"has {len(self.text)} characters; expected 1 to {LONGEST}")
        try:
            self._tree = ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            what = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ExpressionError(f"is no expression ({what})") from None
        for node in ast.walk(self._tree):
            _refuse(node)
        self._bound = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and _is_stored(node)}

    @property
    def paths(self) -> tuple[str, ...]:
        """The names it asks for with what follows their dots, e.g. `page_kb`, `brief.max_kb`; each once, in order."""
        return tuple(dict.fromkeys(self._paths(self._tree)))

    def value(self, names: Mapping[str, Any]) -> Any:
        """What it comes to.

        Raises:
            ExpressionError: a name is not there, or the values do not go together.
        """
        try:
            return _Evaluator(names).eval(self.text, self._tree.body)
        except _FAILURES as error:
            raise ExpressionError(_said(error)) from None

    def found(self, names: Mapping[str, Any]) -> str:
        """The values that it asks for, in words: `page_kb = 240, brief.max_kb = 180`."""
        values = []
        for path in self.paths:
            try:
                values.append(f"{path} = {_shown(_Evaluator(names).eval(path))}")
            except _FAILURES:
                values.append(f"{path} is not there")
        return ", ".join(values)

    def _paths(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Attribute | ast.Name):
            path = _dotted(node)
            if path is not None:
                if path.split(".")[0] not in self._bound:
                    yield path
                return
        if isinstance(node, ast.Call):
            for argument in node.args:
                yield from self._paths(argument)
            return
        for child in ast.iter_child_nodes(node):
            yield from self._paths(child)


@lru_cache(maxsize=4_096)
def expression(text: str) -> Expression:
    """The expression of a text, read once. Raises ExpressionError."""
    return Expression(text)


class _Evaluator(EvalWithCompoundTypes):
    """simpleeval without attributes of Python's objects: a dot leads to the part of an object of JSON."""

    OPERATORS: ClassVar[dict[Any, Any]] = {
        node: DEFAULT_OPERATORS[node] for node in (*_COMPARISONS, *_ARITHMETIC, *_UNARY)
    }

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__(operators=self.OPERATORS, functions=dict(FUNCTIONS), names=dict(names))
        # It adds some of its own.
        self.functions = dict(FUNCTIONS)

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        whole = self._eval(node.value)
        if isinstance(whole, Mapping) and node.attr in whole:
            return whole[node.attr]
        raise AttributeDoesNotExist(node.attr, self.expr)


def _refuse(node: ast.AST) -> None:
    """Raises ExpressionError for whatever no expression may hold."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise ExpressionError(
                f"calls {ast.unparse(node.func)}, which is none of the functions there are: {', '.join(FUNCTIONS)}"
            )
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise ExpressionError(f"calls {node.func.id} with named or starred arguments; write them one after another")
    elif not isinstance(node, _ALLOWED):
        raise ExpressionError(
            f"holds {type(node).__name__}, which no constraint may; there are and, or, not, if, comparisons, "
            f"+ - * / // %, lists, for ... in ... and the functions {', '.join(FUNCTIONS)}"
        )
    elif isinstance(node, ast.Constant) and not isinstance(node.value, _CONSTANTS):
        raise ExpressionError(f"holds {node.value!r}; numbers, texts, True, False and None may stand there")
    elif isinstance(node, ast.comprehension) and (node.is_async or not isinstance(node.target, ast.Name)):
        raise ExpressionError("takes something apart in a for; name each part by one word: for step in steps")
    elif isinstance(node, ast.Attribute | ast.Name):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name.startswith("_"):
            raise ExpressionError(f"asks for {name}; names do not begin with _")


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _dotted(node: ast.AST) -> str | None:
    """A name with what follows its dots; None where something else stands before one of them."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else None
    return None


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0] if error.args else error}"
    if isinstance(error, AttributeDoesNotExist):
        return f"there is no {error.attr}"
    return str(error)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
