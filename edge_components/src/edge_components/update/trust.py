"""Verification in a short-lived child process.

The agent stays small because it never loads ``cryptography``; the child reads one request from
its standard input, answers on its standard output and ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import msgspec

from edge_components.contract.package import Manifest
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason
from edge_components.update.errors import RefusedError

_TIMEOUT_S = 120.0


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is asked: an envelope, or a bundle with its manifest."""

    publishers: tuple[str, ...]
    envelope: bytes | None = None
    bundle: bytes | None = None
    manifest: Manifest | None = None


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the child found; ``release`` is verified only if ``reason`` is empty."""

    reason: Reason = Reason.NONE
    detail: str = ""
    release: ReleaseDocument | None = None


class ChildTrust:
    """Trust in the publishers whose PEM files lie at the given paths.

    Args:
        publishers: Paths of PEM public keys.
        command: The program to run; the default is the child module of this package.
    """

    def __init__(self, publishers: Sequence[str], command: Sequence[str] | None = None) -> None:
        self._publishers = tuple(publishers)
        self._command = tuple(
            command or (sys.executable, "-m", "edge_components.update.verify_child")
        )

    def release(self, envelope: bytes) -> ReleaseDocument:
        """Return the release that a trusted publisher signed; raises ``RefusedError``."""
        answer = self._ask(VerifyRequest(publishers=self._publishers, envelope=envelope))
        if answer.release is None:
            raise RefusedError(Reason.INTERNAL, "the verifying process gave no release")
        return answer.release

    def package(self, bundle: bytes, manifest: Manifest) -> None:
        """Check the package's signature; raises ``RefusedError``."""
        self._ask(VerifyRequest(publishers=self._publishers, bundle=bundle, manifest=manifest))

    def _ask(self, request: VerifyRequest) -> VerifyAnswer:
        try:
            done = subprocess.run(
                self._command,
                input=msgspec.json.encode(request),
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            answer = msgspec.json.decode(done.stdout, type=VerifyAnswer)
        except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError) as exc:
            raise RefusedError(
                Reason.INTERNAL, f"the verifying process failed: {type(exc).__name__}"
            ) from exc
        if answer.reason is not Reason.NONE:
            raise RefusedError(answer.reason, answer.detail, answer.release)
        return answer
