"""The local model registry: ``<state_dir>/models/<name>/<version>.json``, one file a version.

A version is immutable but for its approval: registering another digest under the same version is
refused. Files are written whole or not at all, and of two that register the same new version at
the same time one makes the file and the other compares. The approval is the operator's word; a new
version has the one that the project's ``model.approval`` gives it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from edgectl.api import (
    ApprovalRequest,
    ApprovalResult,
    ConflictError,
    ModelVersion,
    ProviderError,
    RegisterRequest,
)

FOLDER = "models"


def register(state_dir: Path, request: RegisterRequest) -> ModelVersion:
    """Record a model version, or set its approval.

    Raises:
        ConflictError: The version is there with another digest.
        ProviderError: The registry cannot be read or written.
    """
    version = request.version
    path = model_path(state_dir, version.name, version.version)
    with _readable(path):
        fresh = msgspec.structs.replace(version, approval=request.approval or request.initial)
        if _create(path, encode_version(fresh)):
            return fresh
        known = decode_version(path.read_bytes())
        if known.digest != version.digest:
            raise ConflictError(
                f"model '{version.name}' {version.version} is registered with another digest: "
                f"{known.digest}, not {version.digest}",
                hint="raise `version` in the project file; a registered version never changes",
            )
        if request.approval is None or request.approval == known.approval:
            return known
        changed = msgspec.structs.replace(known, approval=request.approval)
        _replace(path, encode_version(changed))
        return changed


def approval(state_dir: Path, request: ApprovalRequest) -> ApprovalResult:
    """Return what was decided about a version.

    Raises:
        ProviderError: The registry cannot be read.
    """
    path = model_path(state_dir, request.name, request.version)
    with _readable(path):
        try:
            return ApprovalResult(approval=decode_version(path.read_bytes()).approval)
        except FileNotFoundError:
            return ApprovalResult()


def model_path(state_dir: Path, name: str, version: str) -> Path:
    """Return where a version is recorded; names cannot leave the folder."""
    return state_dir / FOLDER / _plain(name) / f"{_plain(version)}.json"


def encode_version(version: ModelVersion) -> bytes:
    """Write a version as JSON."""
    return msgspec.json.encode(version, enc_hook=str, order="sorted")


def decode_version(data: bytes) -> ModelVersion:
    """Read what ``encode_version`` wrote.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    return msgspec.json.decode(data, type=ModelVersion, dec_hook=_path_from)


def _path_from(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"a {kind.__name__} cannot be read from {value!r}")


def _plain(part: str) -> str:
    # A name of dots only is a way out of the folder; everything else is quoted.
    return quote(part, safe="").replace(".", "%2E") if set(part) <= {"."} else quote(part, safe="")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ProviderError(
            f"the local model registry '{path}' cannot be used: {exc.strerror}"
        ) from exc
    except msgspec.DecodeError as exc:
        raise ProviderError(
            f"the local model registry holds something else at '{path}': {exc}",
            hint="move the file away and register again",
        ) from exc


def _create(path: Path, data: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return False
    with _written(path, data) as whole:
        try:
            os.link(whole, path)
        except FileExistsError:
            return False
    return True


def _replace(path: Path, data: bytes) -> None:
    with _written(path, data) as whole:
        whole.replace(path)


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    whole = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield whole
    finally:
        whole.unlink(missing_ok=True)
