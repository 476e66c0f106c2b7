"""What the updater needs from its surroundings: a source of files, trust, a check, a runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

import msgspec

from edge_components.contract.package import Descriptor, Manifest
from edge_components.contract.release import ReleaseDocument
from edge_components.store.blobs import Partial
from edge_components.update.link import Link
from edge_components.update.record import Installed


class Source(Protocol):
    """Where the files of one order come from.

    Each method may raise ``RefusedError`` with the reason, or ``CalledOffError`` once ``stop`` is
    set.
    """

    def release(self, stop: threading.Event) -> bytes:
        """Return the release's envelope."""

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        """Return the manifest with that digest; its bytes are checked by the caller."""

    def signature(self, stop: threading.Event) -> bytes:
        """Return the package's Sigstore bundle."""

    def keep_to(self, link: Link) -> None:
        """Keep to a network's limits in every file that is fetched from now on.

        A source that reads no network has none to keep to.
        """

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Fill ``partial`` to its size; the caller checks the digest."""


class Trust(Protocol):
    """Who is believed; both methods raise ``RefusedError``."""

    def release(self, envelope: bytes) -> ReleaseDocument:
        """Return the release that a trusted publisher signed."""

    def package(self, bundle: bytes, manifest: Manifest) -> None:
        """Check that a trusted publisher signed exactly the manifest's files."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A golden check that held: the variant, and the execution provider that was used."""

    precision: str = ""
    provider: str = ""


class Checker(Protocol):
    """The golden check on this machine."""

    def check(self, version_dir: Path, precision: str, stop: threading.Event) -> Checked:
        """Check one variant; with "" compare all that are there, and return the fastest that holds.

        Raises:
            RefusedError: The model cannot be loaded, or does not keep its golden set.
            CalledOffError: ``stop`` was set.
        """


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime is seen to do.

    Attributes:
        release: The release that it answers with; 0 when it answers with none.
        deaths: How often a runtime ended by itself since this agent started.
        errors: Inferences that failed in the model since the runtime started.
    """

    release: int = 0
    ready: bool = False
    deaths: int = 0
    errors: int = 0
    detail: str = ""


class Runtime(Protocol):
    """The inference server on this device."""

    def activate(self, version: Installed, stop: threading.Event) -> str:
        """Have it answer with ``version``; return the execution provider.

        Raises:
            RefusedError: It cannot; what it answers with then is open.
            CalledOffError: ``stop`` was set.
        """

    def restore(self, version: Installed | None, stop: threading.Event) -> None:
        """Have it answer with ``version`` again, or stop it. Raises as ``activate`` does."""

    def health(self) -> Health:
        """Return what it does now."""
