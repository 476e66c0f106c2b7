"""Decides whether a message meets the condition of a route.

The language is that of message routing (iot-hub-devguide-routing-query-syntax): application
properties by name, system properties as ``$name``, the body as ``$body.path``. A value that is not
there makes what it stands in undefined, and an undefined condition is not met.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edgectl_azure_iot_edge.emulator.edge.values import (
    FUNCTIONS,
    UNDEFINED,
    Condition,
    Message,
    Value,
    both,
    called,
    compared,
    computed,
    constant,
    either,
    negated,
    term,
)

_TOKENS = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<braced>\{[^{}]+\})
      | (?P<name>\$?[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_$][A-Za-z0-9_]*|\[\d+\])*)
      | (?P<sign>\|\||<=|>=|<>|!=|[-=<>+*/%(),])
    )""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", "true", "false", "null", "undefined", "is_defined"}


class ConditionError(ValueError):
    """A condition that cannot be read."""


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ConditionError: It cannot be read; the message says where.
    """
    reader = _Reader(text)
    found = reader.expression()
    reader.end()
    return found


def is_met(condition: Condition, message: Message) -> bool:
    """Say whether a message meets a condition."""
    return condition(message) is True


class _Token(NamedTuple):
    kind: str
    text: str


class _Reader:
    """A recursive-descent parser; each method reads one level of precedence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._fault(f"'{self._tokens[self._at].text}' is too much")

    def expression(self) -> Condition:
        found = self._conjunction()
        while self._take("name", "or"):
            found = either(found, self._conjunction())
        return found

    def _conjunction(self) -> Condition:
        found = self._negation()
        while self._take("name", "and"):
            found = both(found, self._negation())
        return found

    def _negation(self) -> Condition:
        if self._take("name", "not"):
            return negated(self._negation())
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._sum()
        for sign in ("<=", ">=", "<>", "!=", "=", "<", ">"):
            if self._take("sign", sign):
                return compared(sign, left, self._sum())
        return left

    def _sum(self) -> Condition:
        found = self._product()
        while True:
            for sign in ("+", "-", "||"):
                if self._take("sign", sign):
                    found = computed(sign, found, self._product())
                    break
            else:
                return found

    def _product(self) -> Condition:
        found = self._atom()
        while True:
            for sign in ("*", "/", "%"):
                if self._take("sign", sign):
                    found = computed(sign, found, self._atom())
                    break
            else:
                return found

    def _atom(self) -> Condition:
        if self._take("sign", "("):
            found = self.expression()
            self._expect(")")
            return found
        if self._take("sign", "-"):
            return computed("-", lambda _message: 0, self._atom())
        if self._at >= len(self._tokens):
            raise self._fault("something is missing at the end")
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "number":
            return constant(float(token.text))
        if token.kind == "text":
            quote = token.text[0]
            return constant(token.text[1:-1].replace(quote * 2, quote))
        if token.kind == "braced":
            return term(token.text[1:-1].strip())
        if token.kind == "name":
            return self._name(token.text)
        raise self._fault(f"'{token.text}' is not expected")

    def _name(self, name: str) -> Condition:
        constants: dict[str, Value] = {"true": True, "false": False, "null": None}
        low = name.lower()
        if self._take("sign", "("):
            return self._call(low)
        if low in constants:
            return constant(constants[low])
        if low == "undefined":
            return constant(UNDEFINED)
        if low in _WORDS:
            raise self._fault(f"'{name}' is not expected")
        return term(name)

    def _call(self, name: str) -> Condition:
        arguments: list[Condition] = []
        while not self._take("sign", ")"):
            if arguments:
                self._expect(",")
            arguments.append(self.expression())
        if name == "is_defined" and len(arguments) == 1:
            return lambda message: arguments[0](message) is not UNDEFINED
        found = FUNCTIONS.get((name.replace("_", ""), len(arguments)))
        if found is None:
            raise self._fault(f"there is no function '{name}' of {len(arguments)} values")
        return called(found, arguments)

    def _take(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == kind and token.text.lower() == text:
                self._at += 1
                return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take("sign", sign):
            raise self._fault(f"'{sign}' is missing")

    def _fault(self, why: str) -> ConditionError:
        return ConditionError(f"condition '{self._text}': {why}")


def _tokens(text: str) -> list[_Token]:
    found = []
    at = 0
    while text[at:].strip():
        match = _TOKENS.match(text, at)
        if match is None or match.lastgroup is None:
            raise ConditionError(f"condition '{text}': '{text[at:].strip()[0]}' is not expected")
        found.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found
