"""The condition of an alarm: a small language over an answer, that can do nothing but compare.

``label == "crack" and score >= 0.8``, ``value > 70 or value < -5``, ``count >= 3``,
``any(label == "person" and score > 0.6)``, ``label in ["crack", "dent"]``.

A name is looked up in the answer (``answer.a.b`` goes deeper); inside ``any`` in each box, class
or entry. Comparing with something that is not there, or of another kind, is false. A condition is
parsed once; what it costs is bounded by its length.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MAX_CHARS = 1000
_MAX_DEPTH = 20
_WORD = r"""\s*(?:
        (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)
      | (?P<text>"[^"\\\n]*"|'[^'\\\n]*')
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
    )"""
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = frozenset({"and", "or", "not", "in", "any", "true", "false"})

Answer = Mapping[str, Any]
Test = Callable[[Answer], bool]
_Term = Callable[[Answer], Any]


class ConditionError(ValueError):
    """A condition cannot be read."""


class Condition:
    """A condition that was read."""

    def __init__(self, text: str, test: Test) -> None:
        self.text = text
        self._test = test

    def holds(self, answer: Answer) -> bool:
        """Whether an answer fulfils it."""
        return self._test(answer)


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ConditionError: With what was expected and where.
    """
    if len(text) > MAX_CHARS:
        raise ConditionError(f"a condition has at most {MAX_CHARS} characters")
    parser = _Parser(_tokens(text))
    test = parser.either(0)
    parser.end()
    return Condition(text, test)


def _tokens(text: str) -> list[tuple[str, str]]:
    token = re.compile(_WORD, re.VERBOSE)  # kept by re; only a pipeline with an alarm pays for it
    tokens = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = token.match(stripped, position)
        if match is None or match.lastgroup is None:
            raise ConditionError(
                f"'{stripped[position:].strip()[:20]}' in a condition is not known"
            )
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def either(self, depth: int) -> Test:
        if depth > _MAX_DEPTH:
            raise ConditionError("the condition nests too deep")
        tests = [self._both(depth)]
        while self._takes("or"):
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda answer: any(t(answer) for t in tests)

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise ConditionError(f"'{self._peek()}' is too much in the condition")

    def _both(self, depth: int) -> Test:
        tests = [self._single(depth)]
        while self._takes("and"):
            tests.append(self._single(depth))
        return tests[0] if len(tests) == 1 else lambda answer: all(t(answer) for t in tests)

    def _single(self, depth: int) -> Test:
        if depth > _MAX_DEPTH:
            raise ConditionError("the condition nests too deep")
        if self._takes("not"):
            inner = self._single(depth + 1)
            return lambda answer: not inner(answer)
        if self._takes("("):
            inner = self.either(depth + 1)
            self._need(")")
            return inner
        if self._takes("any"):
            self._need("(")
            inner = self.either(depth + 1)
            self._need(")")
            return lambda answer: any(inner(item) for item in _items(answer))
        if self._peek() in {"true", "false"}:
            wanted = self._next()[1] == "true"
            return lambda _: wanted
        return self._comparison()

    def _comparison(self) -> Test:
        left = self._term()
        if self._takes("in"):
            options = self._list()
            return lambda answer: any(_same(left(answer), option) for option in options)
        kind, sign = self._next()
        if kind != "sign" or sign not in _COMPARE:
            raise ConditionError(f"a comparison is expected in the condition, not '{sign}'")
        right, compare = self._term(), _COMPARE[sign]

        def test(answer: Answer) -> bool:
            mine, theirs = left(answer), right(answer)
            return _alike(mine, theirs) and compare(mine, theirs)

        return test

    def _list(self) -> list[Any]:
        self._need("[")
        found = [self._literal()]
        while self._takes(","):
            found.append(self._literal())
        self._need("]")
        return found

    def _literal(self) -> Any:
        kind, text = self._next()
        if kind == "number":
            return float(text)
        if kind == "text":
            return text[1:-1]
        raise ConditionError(f"a number or a text is expected in the condition, not '{text}'")

    def _term(self) -> _Term:
        kind, text = self._next()
        if kind == "name" and text not in _WORDS:
            path = text.removeprefix("answer.").split(".")
            return lambda answer: _look_up(answer, path)
        self._at -= 1
        value = self._literal()
        return lambda _: value

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise ConditionError("the condition ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _takes(self, wanted: str) -> bool:
        if self._peek() == wanted and self._tokens[self._at][0] != "text":
            self._at += 1
            return True
        return False

    def _need(self, wanted: str) -> None:
        if not self._takes(wanted):
            found = self._peek() or "its end"
            raise ConditionError(f"'{wanted}' is expected in the condition, not {found}")


def _look_up(answer: Answer, path: list[str]) -> Any:
    if path == ["count"] and "count" not in answer:
        return len(_items(answer))
    found: Any = answer
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _items(answer: Answer) -> Sequence[Answer]:
    for name in ("boxes", "classes"):
        found = answer.get(name)
        if isinstance(found, (list, tuple)):
            return [item for item in found if isinstance(item, Mapping)]
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _alike(mine: Any, theirs: Any) -> bool:
    if _is_number(mine) and _is_number(theirs):
        return True
    return isinstance(mine, str) and isinstance(theirs, str)


def _same(mine: Any, theirs: Any) -> bool:
    return _alike(mine, theirs) and bool(mine == theirs)
