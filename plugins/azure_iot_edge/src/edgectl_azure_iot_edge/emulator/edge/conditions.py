"""Decides whether a message meets the condition of a route.

The language is that of message routing (iot-hub-devguide-routing-query-syntax): application
properties by name, system properties as ``$name``, the body as ``$body.path``. A value that is not
there makes what it stands in undefined, and an undefined condition is not met.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Undefined:
    """The value of what is not there."""


UNDEFINED = Undefined()
Value = Any
Condition = Callable[["Message"], Value]

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


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a condition looks at.

    Attributes:
        properties: The sender's own.
        system: By the names that conditions use: ``connectionModuleId``, ``contentType``, …
    """

    body: bytes
    properties: Mapping[str, str] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)

    def parsed(self) -> Value:
        """Return the body as JSON, undefined when it is none or says that it is none."""
        kind = self.system.get("contentType", "application/json").split(";")[0].strip().lower()
        if kind != "application/json":
            return UNDEFINED
        try:
            return json.loads(self.body.decode(self.system.get("contentEncoding") or "utf-8"))
        except (ValueError, LookupError):
            return UNDEFINED


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
            found = _either(found, self._conjunction())
        return found

    def _conjunction(self) -> Condition:
        found = self._negation()
        while self._take("name", "and"):
            found = _both(found, self._negation())
        return found

    def _negation(self) -> Condition:
        if self._take("name", "not"):
            return _negated(self._negation())
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._sum()
        for sign in ("<=", ">=", "<>", "!=", "=", "<", ">"):
            if self._take("sign", sign):
                return _compared(sign, left, self._sum())
        return left

    def _sum(self) -> Condition:
        found = self._product()
        while True:
            for sign in ("+", "-", "||"):
                if self._take("sign", sign):
                    found = _computed(sign, found, self._product())
                    break
            else:
                return found

    def _product(self) -> Condition:
        found = self._atom()
        while True:
            for sign in ("*", "/", "%"):
                if self._take("sign", sign):
                    found = _computed(sign, found, self._atom())
                    break
            else:
                return found

    def _atom(self) -> Condition:
        if self._take("sign", "("):
            found = self.expression()
            self._expect(")")
            return found
        if self._take("sign", "-"):
            return _computed("-", lambda _message: 0, self._atom())
        if self._at >= len(self._tokens):
            raise self._fault("something is missing at the end")
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "number":
            return _constant(float(token.text))
        if token.kind == "text":
            quote = token.text[0]
            return _constant(token.text[1:-1].replace(quote * 2, quote))
        if token.kind == "braced":
            return _term(token.text[1:-1].strip())
        if token.kind == "name":
            return self._name(token.text)
        raise self._fault(f"'{token.text}' is not expected")

    def _name(self, name: str) -> Condition:
        constants: dict[str, Value] = {"true": True, "false": False, "null": None}
        low = name.lower()
        if self._take("sign", "("):
            return self._call(low)
        if low in constants:
            return _constant(constants[low])
        if low == "undefined":
            return _constant(UNDEFINED)
        if low in _WORDS:
            raise self._fault(f"'{name}' is not expected")
        return _term(name)

    def _call(self, name: str) -> Condition:
        arguments: list[Condition] = []
        while not self._take("sign", ")"):
            if arguments:
                self._expect(",")
            arguments.append(self.expression())
        if name == "is_defined" and len(arguments) == 1:
            return lambda message: arguments[0](message) is not UNDEFINED
        found = _FUNCTIONS.get((name.replace("_", ""), len(arguments)))
        if found is None:
            raise self._fault(f"there is no function '{name}' of {len(arguments)} values")
        return _called(found, arguments)

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


def _term(name: str) -> Condition:
    if not name.startswith("$"):
        return lambda message: message.properties.get(name, UNDEFINED)
    if name == "$body" or name.startswith(("$body.", "$body[")):
        steps = re.findall(r"[^.\[\]]+", name)[1:]
        return lambda message: _walked(message.parsed(), steps)
    return lambda message: message.system.get(name[1:], UNDEFINED)


def _walked(value: Value, steps: list[str]) -> Value:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return UNDEFINED
    return value


def _constant(value: Value) -> Condition:
    return lambda _message: value


def _truth(value: Value) -> Value:
    return value if isinstance(value, bool) else UNDEFINED


def _both(left: Condition, right: Condition) -> Condition:
    def value(message: Message) -> Value:
        found = (_truth(left(message)), _truth(right(message)))
        return False if False in found else (UNDEFINED if UNDEFINED in found else True)

    return value


def _either(left: Condition, right: Condition) -> Condition:
    def value(message: Message) -> Value:
        found = (_truth(left(message)), _truth(right(message)))
        return True if True in found else (UNDEFINED if UNDEFINED in found else False)

    return value


def _negated(condition: Condition) -> Condition:
    def value(message: Message) -> Value:
        found = _truth(condition(message))
        return found if found is UNDEFINED else not found

    return value


_COMPARISONS: dict[str, Callable[[Value, Value], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _kind(value: Value) -> type[Any]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float
    return type(value)


def _compared(sign: str, left: Condition, right: Condition) -> Condition:
    def value(message: Message) -> Value:
        one, other = left(message), right(message)
        if UNDEFINED in (one, other):
            return UNDEFINED
        if _kind(one) is not _kind(other):
            return {"=": False, "!=": True, "<>": True}.get(sign, UNDEFINED)
        try:
            return _COMPARISONS[sign](one, other)
        except TypeError:
            return UNDEFINED

    return value


def _computed(sign: str, left: Condition, right: Condition) -> Condition:
    functions: dict[str, Callable[[Value, Value], Value]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
        "%": operator.mod,
        "||": operator.add,
    }
    kind: type[Any] = str if sign == "||" else float

    def value(message: Message) -> Value:
        one, other = left(message), right(message)
        if _kind(one) is not kind or _kind(other) is not kind:
            return UNDEFINED
        try:
            return functions[sign](one, other)
        except ZeroDivisionError:
            return UNDEFINED

    return value


def _called(function: Callable[..., Value], arguments: list[Condition]) -> Condition:
    def value(message: Message) -> Value:
        values = [argument(message) for argument in arguments]
        if UNDEFINED in values:
            return UNDEFINED
        try:
            return function(*values)
        except (TypeError, ValueError, AttributeError, IndexError):
            return UNDEFINED

    return value


_FUNCTIONS: dict[tuple[str, int], Callable[..., Value]] = {
    ("abs", 1): abs,
    ("asnumber", 1): float,
    ("concat", 2): lambda one, other: one + other,
    ("contains", 2): lambda text, part: part in str(text),
    ("endswith", 2): lambda text, part: text.endswith(part),
    ("indexof", 2): lambda text, part: text.find(part),
    ("isbool", 1): lambda value: isinstance(value, bool),
    ("isnull", 1): lambda value: value is None,
    ("isnumber", 1): lambda value: _kind(value) is float,
    ("isstring", 1): lambda value: isinstance(value, str),
    ("isarray", 1): lambda value: isinstance(value, list),
    ("isobject", 1): lambda value: isinstance(value, dict),
    ("length", 1): lambda text: float(len(text)) if isinstance(text, str) else UNDEFINED,
    ("lower", 1): lambda text: text.lower(),
    ("startswith", 2): lambda text, part: text.startswith(part),
    ("substring", 2): lambda text, at: text[int(at) :],
    ("substring", 3): lambda text, at, count: text[int(at) : int(at) + int(count)],
    ("upper", 1): lambda text: text.upper(),
}
