"""The chain of the audit journal, without I/O: how lines hang together, and how a break shows.

A line is one canonical JSON object. Its ``hash`` is the SHA-256 of the line without that key;
``prev`` is the hash of the line before it, 64 zeros for the first; ``seq`` counts from 1. So a
line that was changed, removed, added or moved breaks the chain where it stands. What the chain
alone cannot show is a journal whose end was cut off: for that the writer keeps the last ``seq``
and ``hash`` in a second file, the head. Whoever can write both files can write a new history;
keep the last hash that ``verify`` prints somewhere else to notice that too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from edge_components.contract.jsonio import canonical_json
from edgectl.records import Record

FIRST_PREV = "0" * 64
MAX_VALUE_CHARS = 200
MAX_DETAILS = 16
MAX_LINE_BYTES = 64 << 10


class Entry(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What happened: names, numbers and digests only, so that no secret can slip in.

    Attributes:
        action: What was done, for example ``assign``.
        result: ``ok``, or the error's code.
        from_: The package digest before (``from`` in the file).
        to: The package digest after.
        devices: How many devices it concerned.
        detail: Further facts by name.
    """

    action: str
    result: str
    provider: str = ""
    application: str = ""
    target: str = ""
    device: str = ""
    devices: int = 0
    release: int = 0
    version: str = ""
    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    approval: str = ""
    detail: dict[str, str] = {}


class JournalLine(Entry, frozen=True, kw_only=True, omit_defaults=True):
    """An entry as it stands in the journal.

    Attributes:
        seq: Its number, from 1.
        time: RFC 3339, UTC.
        who: The user who ran the command.
        host: The machine that it ran on.
        tool: The version of edgectl.
        prev: The hash of the line before.
        hash: The hash of this line.
    """

    seq: int
    time: str
    who: str
    host: str
    tool: str
    prev: str
    hash: str


class Head(Record, frozen=True, kw_only=True):
    """The end of the journal, kept beside it."""

    seq: int
    hash: str


class Problem(Record, frozen=True, kw_only=True):
    """One break of the chain; ``line`` counts from 1."""

    line: int
    kind: Literal["unreadable", "changed", "missing", "order", "cut", "torn"]
    message: str


START = Head(seq=0, hash=FIRST_PREV)


def make_line(
    entry: Entry, head: Head, *, time: str, who: str, host: str, tool: str
) -> tuple[bytes, Head]:
    """Return the bytes of the next line, without newline, and the head after it."""
    plain: dict[str, Any] = _clipped(msgspec.to_builtins(entry))
    plain |= {
        "seq": head.seq + 1,
        "time": time,
        "who": _clip(who),
        "host": _clip(host),
        "tool": tool,
        "prev": head.hash,
    }
    after = Head(seq=head.seq + 1, hash=_hash(plain))
    return canonical_json({**plain, "hash": after.hash}), after


def read_end(line: bytes) -> Head:
    """Return the head that a line states.

    Raises:
        ValueError: It is no line of a journal, or does not have the hash that it states.
    """
    plain = _parse(line)
    if plain is None or _hash(plain) != plain["hash"]:
        raise ValueError("the last line is not whole")
    return Head(seq=plain["seq"], hash=plain["hash"])


def check_chain(lines: Iterable[bytes], head: Head | None) -> tuple[Head, tuple[Problem, ...]]:
    """Check a whole journal.

    One change gives one problem: behind it the check goes on with what the line itself states.

    Args:
        lines: All lines, without newlines.
        head: What the second file says, or None if there is none.

    Returns:
        The end of the journal as it stands, and the problems found.
    """
    problems: list[Problem] = []
    last = START
    seen_head = head is None or head == START
    for number, line in enumerate(lines, start=1):
        plain = _parse(line)
        if plain is None:
            problems.append(_problem(number, "unreadable", "is not a line of a journal"))
            last = Head(seq=last.seq + 1, hash="")
            continue
        problem = _check_line(number, plain, last)
        if problem is not None:
            problems.append(problem)
        last = Head(seq=plain["seq"], hash=plain["hash"])
        seen_head = seen_head or last == head
    if not seen_head and head is not None:
        problems.append(_lost_end(last, head))
    return last, tuple(problems)


def _check_line(number: int, plain: dict[str, Any], last: Head) -> Problem | None:
    seq = plain["seq"]
    if _hash(plain) != plain["hash"]:
        return _problem(number, "changed", "was changed after it was written")
    if seq > last.seq + 1:
        gap = f"entry {last.seq + 1}" + (f" to {seq - 1}" if seq > last.seq + 2 else "")
        return _problem(number, "missing", f"comes after a gap: {gap} missing")
    if seq < last.seq + 1:
        return _problem(number, "order", f"is entry {seq}, expected {last.seq + 1}")
    if last.hash and plain["prev"] != last.hash:
        return _problem(number, "changed", "does not follow from the line before it")
    return None


def _lost_end(last: Head, head: Head) -> Problem:
    if last.seq < head.seq:
        message = f"ends after entry {last.seq}, but {head.seq} were written: the end was cut off"
        return Problem(line=last.seq + 1, kind="cut", message=f"the journal {message}")
    return _problem(head.seq, "changed", "does not have the hash that was written down for it")


def _problem(
    line: int, kind: Literal["unreadable", "changed", "missing", "order"], message: str
) -> Problem:
    return Problem(line=line, kind=kind, message=f"line {line} {message}")


def _hash(plain: dict[str, Any]) -> str:
    return hashlib.sha256(
        canonical_json({key: value for key, value in plain.items() if key != "hash"})
    ).hexdigest()


def _parse(line: bytes) -> dict[str, Any] | None:
    """Read a line of any version of edgectl; None unless it is canonical and has its links."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        plain = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    links = (plain.get("seq"), plain.get("prev"), plain.get("hash"))
    if not (type(links[0]) is int and isinstance(links[1], str) and isinstance(links[2], str)):
        return None
    return plain if canonical_json(plain) == line else None


def _clipped(plain: dict[str, Any]) -> dict[str, Any]:
    """Bound what is written, so that a line never grows beyond what a reader takes."""
    clipped = {key: _clip(value) for key, value in plain.items()}
    if detail := plain.get("detail"):
        clipped["detail"] = {_clip(key): _clip(detail[key]) for key in sorted(detail)[:MAX_DETAILS]}
    return clipped


def _clip(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value[:MAX_VALUE_CHARS].encode("utf-8", "replace").decode()
