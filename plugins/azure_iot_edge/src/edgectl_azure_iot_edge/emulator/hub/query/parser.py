"""Decides what a query or a condition says.

Grammar: learn.microsoft.com/azure/iot-hub/iot-hub-devguide-query-language. Keywords have no case;
a name with other characters than letters, digits, ``_`` and ``$`` stands in ``[[ ]]``. On twins and
jobs the functions are ``is_defined`` and ``startswith`` only; arithmetic is for routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from edgectl_azure_iot_edge.emulator.hub.query.lexer import QueryError, Word, words
from edgectl_azure_iot_edge.emulator.hub.query.tree import (
    COLLECTIONS,
    Aggregate,
    Binary,
    Call,
    Column,
    Constant,
    Expression,
    Members,
    Not,
    Path,
    Query,
    kind_of,
)

_Item = TypeVar("_Item")

AGGREGATES = frozenset({"count", "avg", "sum", "min", "max"})
FUNCTIONS = {"is_defined": 1, "startswith": 2}
_COMPARISONS = frozenset({"=", "!=", "<>", "<", "<=", ">", ">="})
_RESERVED = frozenset(
    [
        "select",
        "from",
        "where",
        "group",
        "by",
        "and",
        "or",
        "not",
        "in",
        "nin",
        "as",
        "top",
        "true",
        "false",
        "null",
        "undefined",
    ]
)
_LITERALS = {"true": True, "false": False, "null": None}
MAX_NESTING = 64


def parse_query(text: str) -> Query:
    """Read a query.

    Raises:
        QueryError: It is malformed, or asks what the language does not have.
    """
    return _Parser(text).query()


def parse_condition(text: str) -> Expression:
    """Read what may stand behind WHERE.

    Raises:
        QueryError: It is malformed.
    """
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str) -> None:
        self._words = words(text)
        self._at = 0
        self._depth = 0

    def query(self) -> Query:
        self._keyword("select")
        top = self._top()
        columns = self._columns()
        self._keyword("from")
        collection = self._collection()
        where = self._expression() if self._took("where") else None
        group_by: tuple[Path, ...] = ()
        if self._took("group"):
            self._keyword("by")
            group_by = tuple(self._list(self._path))
        self._end()
        found = Query(columns, collection, where, group_by, top)
        _check(found)
        return found

    def condition(self) -> Expression:
        found = self._expression()
        self._end()
        return found

    def _next(self) -> Word:
        return self._words[self._at]

    def _is_call(self) -> bool:
        following = self._words[self._at + 1 : self._at + 2]
        return bool(following) and (following[0].kind, following[0].text) == ("sign", "(")

    def _take(self) -> Word:
        word = self._next()
        self._at += 1
        return word

    def _is(self, keyword: str) -> bool:
        word = self._next()
        return word.kind == "name" and word.text.lower() == keyword

    def _took(self, keyword: str) -> bool:
        if not self._is(keyword):
            return False
        self._at += 1
        return True

    def _took_sign(self, sign: str) -> bool:
        if self._next() != Word("sign", sign, self._next().at):
            return False
        self._at += 1
        return True

    def _keyword(self, keyword: str) -> None:
        if not self._took(keyword):
            raise self._unexpected(keyword.upper())

    def _sign(self, sign: str) -> None:
        if not self._took_sign(sign):
            raise self._unexpected(f"'{sign}'")

    def _end(self) -> None:
        if self._next().kind != "end":
            raise self._unexpected("the end")

    def _unexpected(self, wanted: str) -> QueryError:
        word = self._next()
        return QueryError(f"'{word.text}' at position {word.at}, expected {wanted}")

    def _list(self, one: Callable[[], _Item]) -> list[_Item]:
        found = [one()]
        while self._took_sign(","):
            found.append(one())
        return found

    def _top(self) -> int | None:
        if not self._took("top"):
            return None
        word = self._take()
        if word.kind != "number" or not word.text.isdigit():
            raise QueryError(f"TOP takes a number, not '{word.text}'")
        return int(word.text)

    def _columns(self) -> tuple[Column, ...] | None:
        return None if self._took_sign("*") else tuple(self._list(self._column))

    def _column(self) -> Column:
        word = self._next()
        value: Path | Aggregate
        if word.text.lower() in AGGREGATES and self._is_call():
            self._at += 2
            path = None if self._next().text == ")" else self._path()
            self._sign(")")
            value = Aggregate(word.text.lower(), path)
            name = word.text.lower()
        else:
            value = self._path()
            name = value.names[-1]
        if self._took("as"):
            name = self._name()
        return Column(value, name)

    def _collection(self) -> str:
        names = [self._name()]
        while self._took_sign("."):
            names.append(self._name())
        found = ".".join(names).lower()
        if found not in COLLECTIONS:
            raise QueryError(f"'{found}' is no collection, expected {', '.join(COLLECTIONS)}")
        return found

    def _name(self) -> str:
        word = self._take()
        if word.kind == "escaped" or (word.kind == "name" and word.text.lower() not in _RESERVED):
            return word.text
        self._at -= 1
        raise self._unexpected("a name")

    def _path(self) -> Path:
        names = [self._name()]
        while self._took_sign("."):
            word = self._take()  # behind a dot every word is a name
            if word.kind not in {"name", "escaped"}:
                self._at -= 1
                raise self._unexpected("a name")
            names.append(word.text)
        return Path(tuple(names))

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise QueryError("the condition is nested too deep")
        found = self._conjunction()
        while self._took("or"):
            found = Binary("or", found, self._conjunction())
        self._depth -= 1
        return found

    def _conjunction(self) -> Expression:
        found = self._negation()
        while self._took("and"):
            found = Binary("and", found, self._negation())
        return found

    def _negation(self) -> Expression:
        turned = False
        while self._took("not"):
            turned = not turned
        inner = self._comparison()
        return Not(inner) if turned else inner

    def _comparison(self) -> Expression:
        left = self._operand()
        for operator in ("in", "nin"):
            if self._took(operator):
                return Binary(operator, left, self._array())
        word = self._next()
        if word.kind == "sign" and word.text in _COMPARISONS:
            self._at += 1
            operator = "!=" if word.text == "<>" else word.text
            return Binary(operator, left, self._operand())
        return left

    def _array(self) -> Expression:
        self._sign("[")
        found = self._list(self._constant)
        self._sign("]")
        return Members(frozenset((kind_of(value), value) for value in found))

    def _constant(self) -> object:
        word = self._take()
        if word.kind == "text":
            return word.text
        if word.kind == "number":
            return _number(word.text)
        if word.kind == "name" and word.text.lower() in _LITERALS:
            return _LITERALS[word.text.lower()]
        self._at -= 1
        raise self._unexpected("a constant")

    def _operand(self) -> Expression:
        word = self._next()
        if self._took_sign("("):
            inner = self._expression()
            self._sign(")")
            return inner
        if word.kind in {"text", "number"} or word.text.lower() in _LITERALS:
            return Constant(self._constant())
        if word.kind == "name" and self._is_call():
            return self._call()
        return self._path()

    def _call(self) -> Expression:
        name = self._take().text.lower()
        if name not in FUNCTIONS:
            raise QueryError(f"the function '{name}' is not supported on twins and jobs")
        self._sign("(")
        arguments = tuple(self._list(self._operand))
        self._sign(")")
        if len(arguments) != FUNCTIONS[name]:
            raise QueryError(f"'{name}' takes {FUNCTIONS[name]} arguments, not {len(arguments)}")
        if name == "is_defined" and not isinstance(arguments[0], Path):
            raise QueryError("'is_defined' takes a property")
        return Call(name, arguments)


def _number(text: str) -> float | int:
    if "x" in text.lower():
        return int(text, 16)
    return float(text) if any(c in text for c in ".eE") else int(text)


def _check(query: Query) -> None:
    if query.collection == "devices.jobs" and (query.columns is not None or query.group_by):
        raise QueryError("queries on devices.jobs take SELECT * only")
    if query.columns is None and query.group_by:
        raise QueryError("GROUP BY takes a list of columns, not *")
    if not query.is_aggregate:
        return
    groups = set(query.group_by)
    for column in query.columns or ():
        if isinstance(column.value, Path) and column.value not in groups:
            raise QueryError(f"'{column.name}' is neither grouped nor aggregated")
