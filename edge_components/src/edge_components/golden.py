"""The golden set: read a zip of arrays that may be hostile, compare answers with what was expected.

A golden file is a zip with stored (not compressed) entries ``input.<tensor>.npy``,
``output.<tensor>.npy`` and perhaps ``labels.npy``. Nothing in it is unpickled, and no size that it
declares is believed before it is compared with the bytes that are there.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

MAX_ENTRIES = 256
MAX_BYTES = 256 << 20
_MAX_HEADER = 4096
_TINY = 1e-12


class GoldenError(ValueError):
    """The golden file breaks the rules, or does not fit the model."""


class Golden(msgspec.Struct, frozen=True):
    """Inputs and expected outputs by tensor name; the first axis counts the samples."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    labels: Array | None = None

    @property
    def samples(self) -> int:
        """How many samples there are."""
        first = next(iter(self.inputs.values()))
        return first.shape[0] if first.ndim else 1


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How far answers are from the golden ones.

    Attributes:
        within: Whether every number is within ``atol + rtol * |expected|``.
        label_agreement: Share of samples with the same arg-max (float outputs) and of equal
            elements (others), the smallest over all outputs; None where no output has labels.
    """

    within: bool
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    label_agreement: float | None = None
    discrete_equal: bool = True
    worst: str = ""

    def holds(self, min_label_agreement: float) -> bool:
        """Whether the answers are good enough."""
        agreement = 1.0 if self.label_agreement is None else self.label_agreement
        labels = agreement >= min_label_agreement if min_label_agreement else self.discrete_equal
        return self.within and labels


def read_golden(path: Path, *, max_bytes: int = MAX_BYTES) -> Golden:
    """Read a golden file.

    Raises:
        GoldenError: It breaks the format or a limit.
        OSError: It cannot be opened.
    """
    inputs: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    labels: Array | None = None
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _entries(archive, max_bytes):
                array = parse_npy(_stored_bytes(archive, entry), name=entry.filename)
                kind, _, rest = entry.filename.removesuffix(".npy").partition(".")
                if entry.filename == "labels.npy":
                    labels = array
                elif kind == "input" and rest:
                    inputs[rest] = array
                elif kind == "output" and rest:
                    outputs[rest] = array
                else:
                    raise GoldenError(
                        f"the golden set has an unknown entry '{entry.filename[:80]}'"
                    )
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as exc:
        raise GoldenError(f"the golden set is not a zip of stored arrays: {exc}") from exc
    return _checked(Golden(inputs, outputs, labels))


def parse_npy(data: bytes, *, name: str) -> Array:
    """Read one ``.npy`` document: plain types only, and exactly the bytes that its shape needs.

    Raises:
        GoldenError: It is not such a document.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream, max_header_size=_MAX_HEADER)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as exc:
        raise GoldenError(f"'{name[:80]}' is not an array: {str(exc)[:200]}") from exc
    if dtype.kind not in "biufUS" or dtype.hasobject or dtype.itemsize == 0:
        raise GoldenError(f"'{name[:80]}' has type {dtype}, which is not taken")
    if any(size < 0 for size in shape) or len(shape) > 16:
        raise GoldenError(f"'{name[:80]}' has an impossible shape")
    wanted = math.prod(shape) * dtype.itemsize
    body = memoryview(data)[stream.tell() :]
    if len(body) != wanted:
        raise GoldenError(f"'{name[:80]}' declares {wanted} bytes, {len(body)} are there")
    array = np.frombuffer(body, dtype=dtype)
    array = array.reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "U":
        return array.astype(np.object_)
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("=")))


def compare(
    actual: Mapping[str, Array], expected: Mapping[str, Array], *, atol: float, rtol: float
) -> Comparison:
    """Compare a model's outputs with the golden ones, output by output.

    NaN equals NaN and nothing else; a different shape or a missing output is never within.
    """
    parts = [
        _compare_one(name, actual.get(name), wanted, atol, rtol)
        for name, wanted in expected.items()
    ]
    agreements = [p.label_agreement for p in parts if p.label_agreement is not None]
    worst = next((p.worst for p in parts if not p.within), "")
    return Comparison(
        within=all(p.within for p in parts),
        max_abs_error=max((p.max_abs_error for p in parts), default=0.0),
        max_rel_error=max((p.max_rel_error for p in parts), default=0.0),
        label_agreement=min(agreements, default=None),
        discrete_equal=all(p.discrete_equal for p in parts),
        worst=worst,
    )


def _compare_one(
    name: str, actual: Array | None, wanted: Array, atol: float, rtol: float
) -> Comparison:
    if actual is None or actual.shape != wanted.shape:
        found = "none" if actual is None else str(list(actual.shape))
        text = f"output '{name}' has shape {found}, the golden set {list(wanted.shape)}"
        return _different(text)
    if wanted.dtype.kind != "f" or actual.dtype.kind != "f":
        equal = actual == wanted
        share = float(np.mean(equal)) if wanted.size else 1.0
        return Comparison(within=True, label_agreement=share, discrete_equal=bool(np.all(equal)))
    mine, theirs = actual.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(mine - theirs)
        same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
        error = np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))
        allowed = atol + rtol * np.where(np.isfinite(theirs), np.abs(theirs), 0.0)
        relative = error / np.maximum(np.where(np.isfinite(theirs), np.abs(theirs), 1.0), _TINY)
    largest = float(error.max(initial=0.0))
    within = bool(np.all(error <= allowed))
    worst = "" if within else f"output '{name}' is off by {largest:.4g}"
    return Comparison(
        within=within,
        max_abs_error=largest,
        max_rel_error=float(relative.max(initial=0.0)),
        label_agreement=_agreement(mine, theirs),
        worst=worst,
    )


def _agreement(mine: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> float | None:
    if theirs.ndim < 2 or theirs.shape[-1] < 2 or theirs.size == 0:
        return None
    valid = ~np.isnan(mine).any(axis=-1)
    same = np.argmax(np.nan_to_num(mine), axis=-1) == np.argmax(np.nan_to_num(theirs), axis=-1)
    return float(np.mean(same & valid))


def _different(text: str) -> Comparison:
    return Comparison(
        within=False,
        max_abs_error=math.inf,
        max_rel_error=math.inf,
        label_agreement=0.0,
        discrete_equal=False,
        worst=text,
    )


def _entries(archive: zipfile.ZipFile, max_bytes: int) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise GoldenError(f"the golden set has {len(entries)} entries, at most {MAX_ENTRIES}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise GoldenError("the golden set has an entry twice")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise GoldenError(f"'{entry.filename[:80]}' in the golden set is compressed")
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise GoldenError(f"the golden set is larger than {max_bytes} bytes")
    return entries


def _stored_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as stream:
        data = stream.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise GoldenError(f"'{entry.filename[:80]}' in the golden set is not as long as it says")
    return data


def _checked(golden: Golden) -> Golden:
    if not golden.inputs or not golden.outputs:
        raise GoldenError("the golden set needs at least one input and one output")
    counts = {array.shape[0] if array.ndim else 1 for array in golden.inputs.values()}
    if len(counts) != 1 or 0 in counts:
        raise GoldenError("the golden set's inputs do not have the same number of samples")
    return golden
