"""What stateful steps remember: one small file a step, whole or not at all.

A file is named after the step and everything that decides what its state means, so an unchanged
step finds its state again after a restart, a kill or a new release, and a changed one begins
anew. A file that is damaged or too large is as good as none, and said to be so.

A disk that is told to write after each reading would hold up alarms and wear out, so a file is
whole after a kill, but may be lost in a power cut. Every few seconds a second name is given to a
state that the disk has surely written; it is what is left then.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from edge_components.contract.jsonio import canonical_json
from edge_components.pipeline.errors import PipelineError

FOLDER = "pipeline-state"
MAX_BYTES = 8 << 20
_MAGIC = b"edgestate1\n"
_SUFFIX = ".state"
_SURE = ".sure"
_SURE_EVERY_S = 5.0
_SMALL_BYTES = 64 << 10
_SHARE_OF_TIME = 20.0
_FORGET_AFTER_S = 7 * 86_400.0


class Stateful(Protocol):
    """A step that remembers something.

    Attributes:
        state_key: Names its file.
        dirty: Whether its state changed since the last ``dump``.
    """

    state_key: str
    dirty: bool

    def dump(self) -> bytes:
        """Return its state."""

    def restore(self, data: bytes) -> None:
        """Take a state that ``dump`` gave; ``ValueError`` or msgspec's error where it cannot."""


def state_key(kind: str, *what: object) -> str:
    """Return the name of a state: the step's kind and a digest of what decides its meaning."""
    digest = hashlib.sha256(b"\0".join(canonical_json(one) for one in what)).hexdigest()
    return f"{kind}-{digest[:24]}"


class StateStore:
    """The folder of states.

    Small states are written after each reading. Large ones are written as often as that takes
    little of the time, and always when the pipeline rests or ends.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._next_at = 0.0
        self._unsure: set[str] = set()
        self._sure_at = 0.0

    def restore(self, parts: Iterable[Stateful]) -> list[str]:
        """Give each part its state; return what could not be used, in sentences."""
        troubles = []
        for part in parts:
            why = self._restore(part, _SUFFIX)
            if why:
                old = self._has(part.state_key, _SURE) and not self._restore(part, _SURE)
                begun = "some seconds old" if old else "begun anew"
                troubles.append(f"the state '{part.state_key}' is {begun}: {why}")
            part.dirty = False
        return troubles

    def save(self, parts: Iterable[Stateful], *, now: bool = False) -> bool:
        """Write what changed, if it is time or has to be; return whether nothing is left.

        Raises:
            OSError: The disk does not take it.
            PipelineError: A state is too large to be kept.
        """
        changed = [part for part in parts if part.dirty]
        if not changed:
            self._make_sure(now=now)
            return True
        began = time.monotonic()
        if not now and began < self._next_at:
            return False
        written = 0
        for part in changed:
            part.dirty = False  # also where it fails: the next reading will say so again
            written += self._write(part.state_key, part.dump())
            self._unsure.add(part.state_key)
        if written > _SMALL_BYTES:
            ended = time.monotonic()
            self._next_at = ended + _SHARE_OF_TIME * (ended - began)
        self._make_sure(now=now)
        return True

    def sweep(self, keep: Iterable[str]) -> None:
        """Remove states that nobody used for a week, but for those that are named."""
        kept = {f"{key}{suffix}" for key in keep for suffix in (_SUFFIX, _SURE)}
        oldest = time.time() - _FORGET_AFTER_S
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name not in kept and entry.stat().st_mtime < oldest:
                    Path(entry.path).unlink(missing_ok=True)

    def _make_sure(self, *, now: bool) -> None:
        """Have the disk write what changed, if the last time is long enough ago."""
        began = time.monotonic()
        if not self._unsure or (not now and began < self._sure_at):
            return
        while self._unsure:  # one that cannot be written is tried again when it changes
            key = self._unsure.pop()
            part = self._folder / f".{key}.sure"
            _second_name(self._folder / f"{key}{_SUFFIX}", part)
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            part.replace(self._folder / f"{key}{_SURE}")
        ended = time.monotonic()
        self._sure_at = ended + max(_SURE_EVERY_S, _SHARE_OF_TIME * (ended - began))

    def _has(self, key: str, suffix: str) -> bool:
        return (self._folder / f"{key}{suffix}").exists()

    def _restore(self, part: Stateful, suffix: str) -> str:
        """Give a part one of its files; return why it cannot be used, or ""."""
        try:
            data = self._read(part.state_key, suffix)
            if data is not None:
                part.restore(data)
        except (PipelineError, ValueError, msgspec.MsgspecError, OSError) as exc:
            return str(exc)
        return ""

    def _read(self, key: str, suffix: str) -> bytes | None:
        path = self._folder / f"{key}{suffix}"
        try:
            with path.open("rb") as stream:
                data = stream.read(self._max_bytes + 64)
        except FileNotFoundError:
            return None
        head, body = data[: len(_MAGIC) + 4], data[len(_MAGIC) + 4 :]
        if head != _MAGIC + _checksum(body):
            raise PipelineError("its file is damaged")
        return body

    def _write(self, key: str, body: bytes) -> int:
        if len(body) > self._max_bytes:
            raise PipelineError(
                f"the state '{key}' has {len(body)} bytes, at most {self._max_bytes}"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{key}.part"
        part.write_bytes(_MAGIC + _checksum(body) + body)
        part.replace(self._folder / f"{key}{_SUFFIX}")
        return len(body)


def _second_name(path: Path, other: Path) -> None:
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # not every file system has links, such as that of a memory card
        shutil.copyfile(path, other)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")
