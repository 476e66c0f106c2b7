"""Write a model that we made: one file, or weights in a data file beside it; then load it once."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from edgectl.model.runtime import open_session

DATA_FILE = "model.onnx.data"
EXTERNAL_ABOVE_BYTES = 1 << 30


def is_big(model: ModelProto) -> bool:
    """Whether a model's weights go to a data file although the original's did not."""
    return bool(model.ByteSize() > EXTERNAL_ABOVE_BYTES)


def write_model(model: ModelProto, path: Path, *, external: bool) -> None:
    """Write a model; with ``external`` its weights are moved out of ``model`` as well."""
    for name in (path.name, DATA_FILE):
        path.with_name(name).unlink(missing_ok=True)
    keep_outside = external or is_big(model)
    onnx.save_model(
        model,
        path,
        save_as_external_data=keep_outside,
        all_tensors_to_one_file=True,
        location=DATA_FILE if keep_outside else None,
    )


def store_variant(model: ModelProto, path: Path, *, external: bool) -> None:
    """Write a variant and load it, in the process where a crash is caught.

    Raises:
        ModelError: The runtime does not take it.
    """
    write_model(model, path, external=external)
    open_session(path, what="the variant")
