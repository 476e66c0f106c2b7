"""Which files of a project go along to a training that runs somewhere else.

Inputs travel by themselves and outputs come back, so neither is among them. What is hidden, made
by a machine or a private key stays here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edgectl.errors import LimitError
from edgectl.requests import TrainRequest

MAX_SOURCE_BYTES = 100_000_000
MAX_SOURCE_FILES = 10_000
_LEFT_OUT = {"__pycache__", "node_modules", "venv", "site-packages"}
_KEY_MARK = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_BYTES = 64 << 10


def training_sources(request: TrainRequest) -> dict[str, Path]:
    """Return the project's sources: path in the project to file.

    Hidden files, links, inputs, outputs, environments and private keys are left out.

    Raises:
        LimitError: There is too much of it.
    """
    skip = {*request.inputs.values(), request.model, request.metrics}
    found: dict[str, Path] = {}
    total = 0
    for path in _walk(request.project_dir, skip):
        if _holds_key(path) or _belongs_to_model(path, request.model):
            continue
        found[path.relative_to(request.project_dir).as_posix()] = path
        total += path.stat().st_size
        if total > MAX_SOURCE_BYTES or len(found) > MAX_SOURCE_FILES:
            raise LimitError(
                f"the project's folder has more than {MAX_SOURCE_BYTES:,} bytes or "
                f"{MAX_SOURCE_FILES:,} files beside its inputs",
                hint="name data under `train.inputs`: it travels once and by itself",
            )
    return found


def _walk(folder: Path, skip: set[Path | None]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LEFT_OUT or path in skip:
            continue
        if path.is_symlink():
            continue
        if path.is_dir():
            if not (path / "pyvenv.cfg").exists():
                yield from _walk(path, skip)
        elif path.is_file():
            yield path


def _belongs_to_model(path: Path, model: Path) -> bool:
    """Whether a file is the model's external data (``model.onnx.data``), from a former training."""
    return path.parent == model.parent and path.name.startswith(model.name)


def _holds_key(path: Path) -> bool:
    """Whether a file is a private key, which has no business in a training job."""
    with path.open("rb") as file:
        return _KEY_MARK.search(file.read(_KEY_BYTES)) is not None
