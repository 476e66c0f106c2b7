"""Decides what the words of a query are."""

from __future__ import annotations

import re
from dataclasses import dataclass


class QueryError(ValueError):
    """The query is not understood; the text says where."""


@dataclass(frozen=True, slots=True)
class Word:
    """A token.

    Attributes:
        kind: ``name``, ``escaped``, ``text``, ``number``, ``sign`` or ``end``.
        text: What it says; of a string without quotes and escapes.
        at: Where it begins.
    """

    kind: str
    text: str
    at: int


_WORDS = re.compile(
    r"""(?P<space>\s+)
      | (?P<escaped>\[\[(?P<inner>[^\[\]]+)\]\])
      | (?P<number>-?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?))
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")
      | (?P<sign><=|>=|<>|!=|[=<>.,()*\[\]])""",
    re.VERBOSE,
)
_ESCAPES = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


def words(query: str) -> list[Word]:
    """Cut a query into words; the last has the kind ``end``.

    Raises:
        QueryError: A character belongs to no word.
    """
    found: list[Word] = []
    at = 0
    while at < len(query):
        match = _WORDS.match(query, at)
        if match is None:
            raise QueryError(f"unexpected '{query[at]}' at position {at}")
        kind = str(match.lastgroup)
        if kind == "inner":
            kind = "escaped"
        text = match.group()
        if match["inner"] is not None:
            kind, text = "escaped", match["inner"]
        elif kind == "text":
            text = _ESCAPES.sub(_unescaped, text[1:-1])
        if kind != "space":
            found.append(Word(kind, text, at))
        at = match.end()
    found.append(Word("end", "the end", at))
    return found


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code.startswith("u") and len(code) > 1:
        return chr(int(code[1:], 16))
    if code in {"'", '"', "\\", "u"}:
        return code
    raise QueryError(f"the escape '\\{code}' is not known")
