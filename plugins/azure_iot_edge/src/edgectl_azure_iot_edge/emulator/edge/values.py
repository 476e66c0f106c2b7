"""Decides what the parts of a condition are worth for a message: terms, operators, functions.

A value that is not there makes whatever it stands in undefined (iot-hub-devguide-routing-query-
syntax).
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Undefined:
    """The value of what is not there."""


UNDEFINED = Undefined()
Value = Any
Condition = Callable[["Message"], Value]


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


def term(name: str) -> Condition:
    """Return the value of a property or of a part of the body."""
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


def constant(value: Value) -> Condition:
    """Return a value as it stands."""
    return lambda _message: value


def _truth(value: Value) -> Value:
    return value if isinstance(value, bool) else UNDEFINED


def both(left: Condition, right: Condition) -> Condition:
    """Return ``and``: false when one is, else undefined when one is."""

    def value(message: Message) -> Value:
        found = (_truth(left(message)), _truth(right(message)))
        return False if False in found else (UNDEFINED if UNDEFINED in found else True)

    return value


def either(left: Condition, right: Condition) -> Condition:
    """Return ``or``: true when one is, else undefined when one is."""

    def value(message: Message) -> Value:
        found = (_truth(left(message)), _truth(right(message)))
        return True if True in found else (UNDEFINED if UNDEFINED in found else False)

    return value


def negated(condition: Condition) -> Condition:
    """Return ``not``; of undefined it is undefined."""

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


def compared(sign: str, left: Condition, right: Condition) -> Condition:
    """Return a comparison; values of different kinds are only ever unequal."""

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


def computed(sign: str, left: Condition, right: Condition) -> Condition:
    """Return a sum, product and the like, or two texts as one (``||``)."""
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


def called(function: Callable[..., Value], arguments: list[Condition]) -> Condition:
    """Return a function of values."""

    def value(message: Message) -> Value:
        values = [argument(message) for argument in arguments]
        if UNDEFINED in values:
            return UNDEFINED
        try:
            return function(*values)
        except (TypeError, ValueError, AttributeError, IndexError):
            return UNDEFINED

    return value


FUNCTIONS: dict[tuple[str, int], Callable[..., Value]] = {
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
