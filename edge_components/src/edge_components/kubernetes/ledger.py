"""Which releases a node has accepted: what keeps an old one from being brought back by a stranger.

A pod's own folder ends with the pod, so the order of releases can only be kept where the node
keeps something: in the folder that the pods of a node share. Without one, the release is held to
the number that the operator asked for, and the order is the API server's.

A release that this node accepted lately is taken again: that is the one to fall back to.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason
from edge_components.update.errors import RefusedError
from edge_components.update.record import Accepted

LEDGER_FILE = "releases.json"
_MAX_BYTES = 1 << 20


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """One application's releases that were accepted here, newest first."""

    accepted: tuple[Accepted, ...] = ()


Book = dict[str, Entries]


def refusal(entries: Entries, release: ReleaseDocument) -> str:
    """Return why a release must not run on this node, or ""."""
    one = Accepted(number=release.number, content=release.content_digest())
    if not entries.accepted or one in entries.accepted:
        return ""
    newest = entries.accepted[0].number
    if release.number == newest:
        return f"release {release.number} was seen before with other content"
    if release.number < newest:
        return f"release {release.number} is older than {newest}, which came before"
    return ""


def with_accepted(entries: Entries, release: ReleaseDocument, keep: int) -> Entries:
    """Return the entries once a release has passed its checks here."""
    one = Accepted(number=release.number, content=release.content_digest())
    others = [entry for entry in entries.accepted if entry != one]
    ordered = sorted([one, *others], key=lambda entry: -entry.number)
    return Entries(accepted=tuple(ordered[: max(keep, 2)]))


class Ledger:
    """The book of one node, shared by its pods.

    Args:
        folder: The folder that the node keeps.
        keep: Releases of an application that may come back, the newest included.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._path = folder / LEDGER_FILE
        self._keep = keep

    def admit(self, release: ReleaseDocument) -> None:
        """Check that a verified release may run here.

        Raises:
            RefusedError: ``release-not-newer``; or ``internal``, if the book cannot be read.
        """
        with self._held() as book:
            why = refusal(book.get(release.application, Entries()), release)
        if why:
            raise RefusedError(Reason.RELEASE_NOT_NEWER, why, release)

    def accept(self, release: ReleaseDocument) -> None:
        """Note that a release passed its checks; raises ``RefusedError`` as ``admit`` does."""
        with self._held() as book:
            entries = book.get(release.application, Entries())
            book[release.application] = with_accepted(entries, release, self._keep)
            part = self._path.with_name(LEDGER_FILE + ".part")
            part.write_bytes(canonical_json(book))
            part.replace(self._path)

    @contextmanager
    def _held(self) -> Iterator[Book]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_name(LEDGER_FILE + ".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._read()
        except (OSError, ContractError) as exc:
            raise RefusedError(
                Reason.INTERNAL, f"the node's releases '{self._path}' cannot be used: {exc}"
            ) from exc

    def _read(self) -> Book:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        return decode_json(data, Book, what=f"'{self._path}'", max_bytes=_MAX_BYTES)
