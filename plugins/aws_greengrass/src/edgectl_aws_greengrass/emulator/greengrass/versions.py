"""Semantic versions and npm version requirements, as components use them.

The grammar is npm's (node-semver): ``1.2.3``, ``^1.2``, ``~1.2``, ``1.x``, ``>=1.0.0 <2.0.0``,
``1.0.0 - 2.0.0``, ``a || b``. A pre-release satisfies a requirement only where the requirement
names a pre-release of the same three numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import total_ordering

MAX_LENGTH = 64

_NUMBER = r"(0|[1-9]\d*)"
_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PARTIAL = re.compile(
    rf"v?(?:({_NUMBER[1:-1]}|[xX*])(?:\.({_NUMBER[1:-1]}|[xX*])(?:\.({_NUMBER[1:-1]}|[xX*])"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z.-]+)?)?)?)"
)
_COMPARATOR = re.compile(r"(\^|~>?|>=|<=|>|<|=)?\s*(\S+)")

Test = Callable[["Version"], bool]


@total_ordering
class Version:
    """One version; ordered by precedence, where build metadata has no part."""

    def __init__(self, numbers: tuple[int, int, int], pre: tuple[str, ...] = ()) -> None:
        self.numbers = numbers
        self.pre = pre

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        numbers = ".".join(map(str, self.numbers))
        return f"{numbers}-{'.'.join(self.pre)}" if self.pre else numbers

    def _key(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[int, int, str], ...]]:
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return self.numbers, not self.pre, parts


def parse(text: str) -> Version:
    """Read a version.

    Raises:
        ValueError: It is not a semantic version, or longer than 64 characters.
    """
    match = _VERSION.fullmatch(text)
    if match is None or len(text) > MAX_LENGTH:
        raise ValueError(f"'{text}' is no semantic version")
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    return Version(numbers, tuple(match[4].split(".")) if match[4] else ())


def satisfies(version: Version, requirement: str) -> bool:
    """Say whether a version satisfies a requirement.

    Raises:
        ValueError: The requirement is not one.
    """
    return any(_all(version, part) for part in requirement.split("||"))


def _all(version: Version, text: str) -> bool:
    bounds = _bounds(text.strip())
    if not all(test(version) for test, _ in bounds):
        return False
    if not version.pre:
        return True
    return any(bound.pre and bound.numbers == version.numbers for _, bound in bounds)


def _bounds(text: str) -> list[tuple[Test, Version]]:
    hyphen = re.fullmatch(r"(\S+)\s+-\s+(\S+)", text)
    if hyphen is not None:
        return [*_comparator(">=", hyphen[1]), *_comparator("<=", hyphen[2])]
    if text in {"", "*", "x", "X", "latest"}:
        return [_at_least(Version((0, 0, 0)))]
    found: list[tuple[Test, Version]] = []
    position = 0
    while position < len(text):
        match = _COMPARATOR.match(text, position)
        if match is None:
            raise ValueError(f"'{text}' is no version requirement")
        found += _comparator(match[1] or "", match[2])
        position = match.end() + len(text[match.end() :]) - len(text[match.end() :].lstrip())
    return found


def _comparator(operator: str, text: str) -> list[tuple[Test, Version]]:
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no version in a requirement")
    given = [int(part) for part in _until_wildcard(match.groups()[:3])]
    pre = tuple(match[4].split(".")) if match[4] and len(given) == 3 else ()
    low = Version(_fill(given), pre)
    if operator in {"", "="}:
        return _exactly(low) if len(given) == 3 else _range(low, given, len(given))
    if operator.startswith("~"):
        return _range(low, given, min(len(given), 2))
    if operator == "^":
        return _range(low, given, _first_nonzero(given))
    return _ordered(operator, low, given)


def _until_wildcard(parts: tuple[str | None, ...]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part is None or part in {"x", "X", "*"}:
            break
        found.append(part)
    return found


def _fill(given: list[int]) -> tuple[int, int, int]:
    major, minor, patch = [*given, 0, 0, 0][:3]
    return major, minor, patch


def _first_nonzero(given: list[int]) -> int:
    for index, number in enumerate(given):
        if number:
            return index + 1
    return len(given)


def _range(low: Version, given: list[int], kept: int) -> list[tuple[Test, Version]]:
    """From ``low`` to below the next change of the number at place ``kept`` (1 is the major)."""
    if kept == 0:
        return [_at_least(low)]
    return [_at_least(low), _below(_next(given, kept))]


def _next(given: list[int], kept: int) -> Version:
    numbers = list(_fill(given))[:kept]
    numbers[-1] += 1
    return Version(_fill(numbers))


def _ordered(operator: str, low: Version, given: list[int]) -> list[tuple[Test, Version]]:
    whole = len(given) == 3
    if operator == ">=":
        return [_at_least(low)]
    if operator == "<":
        return [_below(low)]
    if operator == ">":
        if whole:
            return [(lambda version: version > low, low)]
        after = _next(given, len(given)) if given else None
        return [_at_least(after)] if after else [_below(Version((0, 0, 0)))]
    if whole:
        return [(lambda version: version <= low, low)]
    return [_below(_next(given, len(given)))] if given else [_at_least(low)]


def _exactly(wanted: Version) -> list[tuple[Test, Version]]:
    return [(lambda version: version == wanted, wanted)]


def _at_least(low: Version) -> tuple[Test, Version]:
    return lambda version: version >= low, low


def _below(high: Version) -> tuple[Test, Version]:
    """Below a bound; a pre-release of the bound itself is not below what the bound begins."""
    return lambda version: version < high, high
