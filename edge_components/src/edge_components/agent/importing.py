"""Importing a bundle: its files as a source of the updater, and what the import leaves behind.

A bundle is read where it lies; a file of the package is copied once, into the store. Nothing that
it says is believed: every step of an update by the hub is taken here too.

A bundle that a person brings is no order of the fleet's. It takes the place of an order that is
still being fetched, because where a bundle is brought the link is often the trouble; the hub offers
that order again. The hub gets no feedback on an action that
it never made; it learns what the device runs from the device's report. A bundle that is refused
before the switch changes nothing, so the report stays as it was: whoever brought it is told, and an
event tells the fleet.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from edge_components.agent.orders import import_action, open_outcome
from edge_components.apply.verdict import (
    ExitCode,
    claimed_release,
    exit_code,
    forget_outcome,
    trouble,
)
from edge_components.contract.bundle import Contents, Span, attached, read_contents
from edge_components.contract.digest import sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.package import MAX_MANIFEST_BYTES, Descriptor
from edge_components.contract.release import MAX_RELEASE_BYTES, RELEASE_TYPE, ReleaseDocument
from edge_components.contract.signature import BUNDLE_TYPE, MAX_SIGNATURE_BYTES
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.store.blobs import Partial
from edge_components.store.disk import DiskFullError
from edge_components.update import machine
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.link import Link
from edge_components.update.record import Outcome, Record

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_LOOK_S = 0.2
Attributes = Mapping[str, str | int | float | bool]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How an import ended: the command's exit code, and the device's report."""

    exit: int
    report: DeviceReport


class BundleSource:
    """A ``Source`` that reads a bundle.

    Args:
        descriptor: The open file; the caller closes it.
        contents: What lies where in it.
    """

    def __init__(self, descriptor: int, contents: Contents) -> None:
        self._descriptor = descriptor
        self._contents = contents

    @classmethod
    def open(cls, descriptor: int) -> BundleSource:
        """Look into a bundle.

        Raises:
            ContractError: It is not one, or not whole.
            RefusedError: It cannot be read.
        """
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ContractError("bad-bundle", "it is not a plain file")
        contents = read_contents(lambda at, count: _read(descriptor, at, count), status.st_size)
        return cls(descriptor, contents)

    def release(self, stop: threading.Event) -> bytes:
        """Return the release's envelope."""
        return self._attached(
            self._contents.release, RELEASE_TYPE, stop, limit=2 * MAX_RELEASE_BYTES
        )

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        """Return the manifest with that digest."""
        return self._document(digest, MAX_MANIFEST_BYTES, stop)

    def signature(self, stop: threading.Event) -> bytes:
        """Return the package's Sigstore bundle."""
        if not self._contents.signature:
            raise RefusedError(Reason.BAD_SIGNATURE, "the bundle holds no signature of its package")
        return self._attached(
            self._contents.signature, BUNDLE_TYPE, stop, limit=MAX_SIGNATURE_BYTES
        )

    def keep_to(self, link: Link) -> None:
        """Do nothing: a bundle crosses no network."""

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Copy the file from where the store has come to; the caller checks the digest."""
        place = self._place(layer.digest)
        if place.size != layer.size:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"{layer.digest} has {place.size} bytes in the bundle"
            )
        while partial.offset < layer.size:
            if stop.is_set():
                raise CalledOffError
            missing = layer.size - partial.offset
            data = _read(self._descriptor, place.offset + partial.offset, min(_CHUNK, missing))
            if not data:
                raise RefusedError(Reason.DOWNLOAD_FAILED, "the bundle became shorter")
            partial.write(data)

    def _attached(self, digest: str, kind: str, stop: threading.Event, *, limit: int) -> bytes:
        manifest = self._document(digest, MAX_MANIFEST_BYTES, stop)
        return self._document(attached(manifest, digest, kind, limit=limit).digest, limit, stop)

    def _document(self, digest: str, limit: int, stop: threading.Event) -> bytes:
        if stop.is_set():
            raise CalledOffError
        place = self._place(digest)
        if place.size > limit:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"{digest} has {place.size} bytes, at most {limit} may be"
            )
        data = _read(self._descriptor, place.offset, place.size)
        if sha256_digest(data) != digest:
            raise RefusedError(Reason.DIGEST_MISMATCH, f"{digest} is damaged in the bundle")
        return data

    def _place(self, digest: str) -> Span:
        place = self._contents.find(digest)
        if place is None:
            raise RefusedError(Reason.BAD_PACKAGE, f"the bundle does not hold {digest}")
        return place


class Errand:
    """One bundle on its way into the device.

    Args:
        source: The bundle.
        say: Told of each phase, in the updater's thread.

    Attributes:
        release: What the bundle says its release is; not verified, None if it cannot be read.
        number: The release's number that it claims; 0 if it cannot be read.
        action: Its name in the record.
        over: Set when the device is done with it.
        final: The record at its end; None while there is none, or if it was broken off.
        displaced: The hub's own order whose end the hub has not heard of, if the import took its
            place in the record.
    """

    def __init__(self, source: BundleSource, say: Callable[[str], None]) -> None:
        self.source = source
        self._say = say
        self.release: ReleaseDocument | None = claimed_release(source.release(threading.Event()))
        self.number = self.release.number if self.release else 0
        self.action = import_action(self.number)
        self.over = threading.Event()
        self.final: Record | None = None
        self.displaced: Outcome | None = None
        self.switched = False
        self._before: Outcome | None = None

    def begin(self, record: Record) -> Record:
        """Return the record with the import begun; an earlier one of the same release may be there.

        A person who brings a bundle again wants it tried again.
        """
        self._before = record.outcome
        return machine.begin(forget_outcome(record, self.action), self.action)

    def changed(self, record: Record) -> None:
        """Note a new record of the updater."""
        update = record.update
        if update is None:
            self.final = record
            return
        self._before = record.outcome  # the hub may have heard of it meanwhile
        self.switched = self.switched or update.phase.is_switched
        self._say(update.phase.value)

    def settle(self, record: Record) -> Record:
        """Return the record that stays: a refusal before the switch leaves what was told before."""
        outcome = record.outcome
        if outcome is None or outcome.action != self.action:
            return record
        if not self.switched and outcome.state in {State.FAILED, State.SKIPPED}:
            return replace(record, outcome=self._before)
        self.displaced = None if self._before is None else open_outcome(self._before)
        return record


class Carrier(Protocol):
    """Who carries errands out: the agent."""

    def carry_in(self, errand: Errand) -> str:
        """Begin an errand, and return at once; say why not, or ""."""

    def report(self, record: Record | None = None) -> DeviceReport:
        """Return the device's statement."""

    def tell(self, body: str, attributes: Attributes) -> None:
        """Have an event recorded."""


def open_file(path: Path) -> int:
    """Open a bundle's file and return its descriptor; nothing of it is looked at yet.

    Raises:
        ContractError: It cannot be read.
    """
    try:
        # A pipe or a device must not make anybody wait; it is refused later.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise ContractError("bad-bundle", f"'{path}' cannot be read: {exc.strerror}") from exc


def import_bundle(
    carrier: Carrier,
    descriptor: int,
    name: str,
    say: Callable[[str], None],
    *,
    wait: Callable[[float], bool] | None = None,
) -> Answer:
    """Take a bundle into the device; return when that has ended.

    Args:
        carrier: The agent.
        descriptor: The open file; closed in the end.
        name: The file's name, for messages and events.
        say: Told of each phase.
        wait: Rests for so long while another update is at work, and says whether to give up; None
            gives up at once.
    """
    try:
        try:
            errand = Errand(BundleSource.open(descriptor), say)
        except (ContractError, RefusedError) as exc:
            return _refused(carrier, name, None, _reason(exc), f"'{name}': {_why(exc)}")
        try:
            while why := carrier.carry_in(errand):
                if wait is None or wait(_LOOK_S):
                    return _put_off(carrier, errand, Reason.CANCELED, why)
        except (DiskFullError, OSError) as exc:
            return _put_off(carrier, errand, Reason.DISK_FULL, str(exc))
        errand.over.wait()
        return _ended(carrier, errand, name)
    finally:
        os.close(descriptor)


def _ended(carrier: Carrier, errand: Errand, name: str) -> Answer:
    record = errand.final
    if record is None or record.outcome is None:
        return _put_off(carrier, errand, Reason.CANCELED, "the agent ended before the import did")
    outcome = record.outcome
    if not errand.switched and outcome.state is not State.HEALTHY:
        return _refused(carrier, name, record, outcome.reason, outcome.detail)
    code = exit_code(record, switched=errand.switched)
    took = "took" if code is ExitCode.HEALTHY else "tried"
    carrier.tell(
        f"the device {took} release {outcome.release} from the bundle '{name}'",
        {"release": outcome.release, "package": outcome.package, "state": outcome.state.value},
    )
    return Answer(exit=code, report=carrier.report(record))


def _refused(
    carrier: Carrier, name: str, record: Record | None, reason: Reason, detail: str
) -> Answer:
    report = carrier.report(record)
    if record is None:
        report = trouble(report, None, reason, detail)
    facts = {"reason": reason.value, "release": report.release if record else 0}
    carrier.tell(f"the bundle '{name}' was refused: {detail}", facts)
    return Answer(exit=ExitCode.REFUSED, report=report)


def _put_off(carrier: Carrier, errand: Errand, reason: Reason, detail: str) -> Answer:
    report = trouble(carrier.report(), errand.release, reason, detail)
    return Answer(exit=ExitCode.TEMPORARY, report=report)


def _reason(error: ContractError | RefusedError) -> Reason:
    if isinstance(error, RefusedError):
        return error.reason
    return Reason.DIGEST_MISMATCH if error.code == "digest-mismatch" else Reason.BAD_PACKAGE


def _why(error: ContractError | RefusedError) -> str:
    return error.detail if isinstance(error, RefusedError) else str(error)


def _read(descriptor: int, at: int, count: int) -> bytes:
    """Read up to ``count`` bytes; fewer only at the file's end.

    Raises:
        RefusedError: ``download-failed``: the medium does not give them.
    """
    parts: list[bytes] = []
    while count:
        try:
            part = os.pread(descriptor, count, at)
        except OSError as exc:
            raise RefusedError(
                Reason.DOWNLOAD_FAILED, f"the bundle cannot be read any more: {exc.strerror}"
            ) from exc
        if not part:
            break
        parts.append(part)
        at += len(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
