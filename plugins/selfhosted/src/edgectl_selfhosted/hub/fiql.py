r"""FIQL/RSQL filters: text to a syntax tree, without knowing any table.

Grammar (hawkBit's ``q`` parameter)::

    or         = and *( ("," / " or ") and )
    and        = term *( (";" / " and ") term )
    term       = "(" or ")" / field operator value
    operator   = == != < <= > >= =lt= =le= =gt= =ge= =in= =out= =is= =not=
    value      = word / 'quoted' / "quoted" / "(" value *("," value) ")"

``*`` in a value stands for any text, ``\*`` for a star. Text, nesting and number of terms are
bounded, so that the tree is small whatever comes in.
"""

from __future__ import annotations

import re

import msgspec

MAX_CHARS = 8_192
MAX_DEPTH = 30
MAX_TERMS = 500

_WORD = re.compile(r"""[^"'();,=<>!~\s]+""")
_OPERATOR = re.compile(r"=[a-z]+=|==|!=|<=|>=|<|>", re.IGNORECASE)
_SPACE = re.compile(r"\s*")
_OR = re.compile(r"\s*,\s*|\s+or\s+", re.IGNORECASE)
_AND = re.compile(r"\s*;\s*|\s+and\s+", re.IGNORECASE)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)

_OPERATORS = {
    "==": "==",
    "!=": "!=",
    "<": "<",
    "=lt=": "<",
    "<=": "<=",
    "=le=": "<=",
    ">": ">",
    "=gt=": ">",
    ">=": ">=",
    "=ge=": ">=",
    "=in=": "in",
    "=out=": "out",
    "=is=": "==",
    "=not=": "!=",
}


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    r"""One field against one or more values; ``op`` is one of == != < <= > >= in out.

    Values keep ``\*`` as it was written, because a bare ``*`` is a wildcard.
    """

    field: str
    op: str
    values: tuple[str, ...]


class Both(msgspec.Struct, frozen=True, kw_only=True):
    """All parts hold."""

    parts: tuple[Node, ...]


class Either(msgspec.Struct, frozen=True, kw_only=True):
    """At least one part holds."""

    parts: tuple[Node, ...]


Node = Comparison | Both | Either


class FiqlError(ValueError):
    """The filter cannot be read; the message has the position."""


def parse(text: str) -> Node:
    """Read a filter.

    Raises:
        FiqlError: It is empty, too large, or not FIQL.
    """
    if len(text) > MAX_CHARS:
        raise FiqlError(f"a filter has at most {MAX_CHARS} characters, this one {len(text)}")
    parser = _Parser(text)
    node = parser.either(0)
    parser.skip(_SPACE)
    if parser.position != len(text):
        raise parser.error("the end, ',' or ';'")
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.terms = 0

    def error(self, expected: str) -> FiqlError:
        found = self.text[self.position : self.position + 20]
        return FiqlError(
            f"expected {expected} at position {self.position}, found '{found or 'the end'}'"
        )

    def skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.position)
        if match is None or match.end() == self.position:
            return False
        self.position = match.end()
        return True

    def either(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise FiqlError(f"a filter nests at most {MAX_DEPTH} levels deep")
        parts = [self.both(depth)]
        while self.skip(_OR):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Either(parts=tuple(parts))

    def both(self, depth: int) -> Node:
        parts = [self.term(depth)]
        while self.skip(_AND):
            parts.append(self.term(depth))
        return parts[0] if len(parts) == 1 else Both(parts=tuple(parts))

    def term(self, depth: int) -> Node:
        self.skip(_SPACE)
        if not self.text.startswith("(", self.position):
            return self.comparison()
        self.position += 1
        node = self.either(depth + 1)
        self.skip(_SPACE)
        if not self.text.startswith(")", self.position):
            raise self.error("')'")
        self.position += 1
        return node

    def comparison(self) -> Comparison:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise FiqlError(f"a filter has at most {MAX_TERMS} comparisons")
        field = self.take(_WORD, "a field")
        self.skip(_SPACE)
        start = self.position
        word = self.take(_OPERATOR, "an operator").lower()
        op = _OPERATORS.get(word)
        if op is None:
            self.position = start
            raise self.error("one of " + " ".join(_OPERATORS))
        self.skip(_SPACE)
        values = self.values() if op in {"in", "out"} else (self.value(),)
        return Comparison(field=field, op=op, values=values)

    def take(self, pattern: re.Pattern[str], expected: str) -> str:
        match = pattern.match(self.text, self.position)
        if match is None:
            raise self.error(expected)
        self.position = match.end()
        return match.group()

    def values(self) -> tuple[str, ...]:
        if not self.text.startswith("(", self.position):
            return (self.value(),)
        self.position += 1
        values = [self.value()]
        while self.skip(_OR):
            values.append(self.value())
            if len(values) > MAX_TERMS:
                raise FiqlError(f"a list has at most {MAX_TERMS} values")
        self.skip(_SPACE)
        if not self.text.startswith(")", self.position):
            raise self.error("')'")
        self.position += 1
        return tuple(values)

    def value(self) -> str:
        self.skip(_SPACE)
        quoted = _QUOTED.match(self.text, self.position)
        if quoted is None:
            return self.take(_WORD, "a value")
        self.position = quoted.end()
        inner = quoted.group(1) if quoted.group(1) is not None else quoted.group(2)
        return re.sub(r"\\([^*])", r"\1", inner, flags=re.DOTALL)
