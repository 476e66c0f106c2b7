"""Golden sets: inputs with the answers that the original model gives to them.

A golden set is a NumPy archive with ``input.<tensor>`` (or the bare tensor name) for every input,
``output.<tensor>`` where the author supplies answers, and ``labels`` where right answers are
known. What devices get is small, has all answers, and has the same bytes on any machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_components.contract.package import TensorSpec
from edgectl.errors import ModelError
from edgectl.model.batching import Units, divide
from edgectl.model.npz import npz_bytes, read_npz
from edgectl.model.parity import compare
from edgectl.model.run import run_model
from edgectl.model.runtime import Arrays
from edgectl.model.signature import ModelSignature
from edgectl.records import Record

LABELS = "labels"
DEVICE_SAMPLES = 64
DEVICE_BYTES = 4 << 20
GOLDEN_ATOL = 1e-4
GOLDEN_RTOL = 1e-3
DEVICE_ROWS_PER_RUN = 32
_RANDOM_ROWS = 8
_SEED = 20_260

_NUMPY = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}


class GoldenSet(Record, frozen=True, kw_only=True, eq=False):
    """Inputs, answers and labels, by tensor name.

    Attributes:
        outputs: Empty, or some or all of the model's outputs.
        labels: The right class of each sample, or None.
    """

    inputs: Arrays
    outputs: Arrays = {}
    labels: np.ndarray[Any, np.dtype[Any]] | None = None


def load_golden(path: Path, signature: ModelSignature) -> GoldenSet:
    """Read a golden, evaluation or calibration set and check it against the model.

    Raises:
        ModelError: The file cannot be read, or a key, type, shape or value in it is wrong; the
            message names the file and the key.
    """
    arrays = read_npz(path)
    inputs = {spec.name: spec for spec in signature.inputs}
    outputs = {spec.name: spec for spec in signature.outputs}
    found_in: Arrays = {}
    found_out: Arrays = {}
    labels = None
    for key in sorted(arrays):
        name = key.removeprefix("input.").removeprefix("output.")
        if key.startswith("input.") and name in inputs:
            _put(path, key, found_in, inputs[name], arrays[key])
        elif key.startswith("output.") and name in outputs:
            _put(path, key, found_out, outputs[name], arrays[key])
        elif key == LABELS:
            labels = arrays[key]
        elif key in inputs:
            _put(path, key, found_in, inputs[key], arrays[key])
        else:
            raise ModelError(
                f"'{path}': '{key[:120]}' is no tensor of the model",
                hint="allowed are " + ", ".join(_allowed(signature)),
            )
    for name in inputs:
        if name not in found_in:
            raise ModelError(
                f"'{path}' has no values for the input '{name}'", hint=f"add 'input.{name}'"
            )
    golden = GoldenSet(
        inputs={name: found_in[name] for name in inputs},
        outputs={name: found_out[name] for name in outputs if name in found_out},
        labels=labels,
    )
    _check_counts(path, golden, golden_units(golden, signature, what=f"'{path}'"), signature)
    return golden


def golden_units(golden: GoldenSet, signature: ModelSignature, *, what: str) -> Units:
    """Say how a golden set's samples divide into runs.

    Raises:
        ModelError: The inputs do not have the same number of samples, or none.
    """
    try:
        return divide(signature.inputs, signature.outputs, golden.inputs)
    except ModelError as exc:
        raise ModelError(f"{what}: {exc.message}", hint=exc.hint) from exc


def complete_golden(model: ModelSignature, golden: GoldenSet) -> GoldenSet:
    """Give every sample the original model's answers.

    Answers that the author supplied are kept, when the model really gives them within
    ``GOLDEN_ATOL`` and ``GOLDEN_RTOL``.

    Raises:
        ModelError: The model does not run on the inputs, answers with NaN or infinity, or gives
            other answers than the supplied ones.
    """
    given = run_model(model.path, model, golden.inputs)
    for name, array in given.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(
                f"the model answers golden inputs with NaN or infinity in '{name}'",
                hint="such an answer cannot be compared on a device; repair the model or the set",
            )
    for name, expected in golden.outputs.items():
        parity = compare({name: expected}, {name: given[name]})
        if not _close(expected, given[name]):
            by = f"they differ by up to {parity.max_abs_error:.6g}"
            if expected.dtype.kind != "f":
                by = f"{np.mean(expected != given[name]):.1%} of the values differ"
            raise ModelError(
                f"the golden set's '{name}' is not what the model gives: {by}",
                hint="make the golden set from this model, or leave its outputs out",
            )
    return msgspec.structs.replace(golden, outputs={**given, **golden.outputs})


def write_golden(golden: GoldenSet, path: Path) -> None:
    """Write a golden set as a deterministic archive: equal sets give equal bytes anywhere.

    Raises:
        ModelError: The file cannot be written.
    """
    arrays = {f"input.{name}": array for name, array in golden.inputs.items()}
    arrays |= {f"output.{name}": array for name, array in golden.outputs.items()}
    if golden.labels is not None:
        arrays[LABELS] = golden.labels
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(npz_bytes(arrays))
    except OSError as exc:
        raise ModelError(f"the golden set '{path}' cannot be written: {exc.strerror}") from exc


def limit_golden(
    golden: GoldenSet,
    signature: ModelSignature,
    *,
    samples: int = DEVICE_SAMPLES,
    max_bytes: int = DEVICE_BYTES,
) -> GoldenSet:
    """Return a part small enough for devices, taken evenly over the set; at least one unit.

    Args:
        golden: The whole set.
        signature: Its model.
        samples: Most samples.
        max_bytes: Most bytes of all arrays.
    """
    units = golden_units(golden, signature, what="the golden set")
    total = sum(array.nbytes for array in (*golden.inputs.values(), *golden.outputs.values()))
    fitting = min(units.count, samples // units.rows, int(max_bytes * units.count / max(total, 1)))
    if fitting >= units.count:
        return golden
    chosen = np.linspace(0, units.count - 1, max(fitting, 1)).round().astype(np.int64)
    return GoldenSet(
        inputs={
            name: units.pick(array, chosen) if name in units.sliced else array
            for name, array in golden.inputs.items()
        },
        outputs={name: units.pick(array, chosen) for name, array in golden.outputs.items()},
        labels=None if golden.labels is None else units.pick(golden.labels, chosen),
    )


def fits_devices(golden: GoldenSet, units: Units) -> bool:
    """Whether a device can divide the set: the same first axis for all inputs, and a batch.

    Devices run sets without a batch axis only as far as these fit one run of theirs.
    """
    sizes = {array.shape[0] if array.ndim else 1 for array in golden.inputs.values()}
    if len(sizes) != 1:
        return False
    if units.sliced:
        return len(units.sliced) == len(golden.inputs)
    return sizes.pop() <= DEVICE_ROWS_PER_RUN


def random_golden(signature: ModelSignature) -> GoldenSet:
    """Make inputs from a fixed seed: weaker than real ones, for they look like no reading.

    Floats are uniform in 0..1, integers 0 or 1, dimensions that vary are 1 beyond the first.

    Raises:
        ModelError: An input is text, for which there is nothing sensible to make.
    """
    generator = np.random.Generator(np.random.PCG64(_SEED))
    inputs: Arrays = {}
    for spec in signature.inputs:
        if spec.datatype == "BYTES":
            raise ModelError(
                f"no golden set can be made for the text input '{spec.name}'",
                hint="give one with model.golden in the project file",
            )
        first = [_RANDOM_ROWS if size == -1 else size for size in spec.shape[:1]]
        shape = (*first, *(1 if size == -1 else size for size in spec.shape[1:]))
        dtype = np.dtype(_NUMPY[spec.datatype])
        values = generator.random(shape) if dtype.kind == "f" else generator.integers(0, 2, shape)
        inputs[spec.name] = np.asarray(values).astype(dtype)
    return GoldenSet(inputs=inputs)


def _put(path: Path, key: str, into: Arrays, spec: TensorSpec, array: Any) -> None:
    if spec.name in into:
        raise ModelError(f"'{path}' gives the tensor '{spec.name}' twice")
    if spec.datatype == "BYTES":
        if array.dtype.kind not in "US":
            raise ModelError(f"'{path}': '{key}' has the type {array.dtype}, expected text")
    elif array.dtype != np.dtype(_NUMPY[spec.datatype]):
        wanted = _NUMPY[spec.datatype]
        raise ModelError(
            f"'{path}': '{key}' has the type {array.dtype}, the model's '{spec.name}' is {wanted}",
            hint=f"save it with .astype('{wanted}')",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise ModelError(f"'{path}': '{key}' holds NaN or infinity at {where}")
    wanted_shape = list(spec.shape)
    rest = [
        want in {size, -1} for size, want in zip(array.shape[1:], wanted_shape[1:], strict=False)
    ]
    if array.ndim != len(wanted_shape) or not all(rest):
        raise ModelError(
            f"'{path}': '{key}' has the shape {list(array.shape)}, the model's '{spec.name}' is "
            f"{wanted_shape} (-1 may vary)"
        )
    if array.size == 0:
        raise ModelError(f"'{path}': '{key}' holds no sample; its shape is {list(array.shape)}")
    into[spec.name] = array


def _check_counts(path: Path, golden: GoldenSet, units: Units, signature: ModelSignature) -> None:
    for spec in signature.inputs:
        size = golden.inputs[spec.name].shape[:1]
        whole = spec.name not in units.sliced and spec.shape and spec.shape[0] != -1
        if whole and size != spec.shape[:1]:
            raise ModelError(
                f"'{path}': 'input.{spec.name}' has {size[0]} rows, the model's has {spec.shape[0]}"
            )
    for spec in signature.outputs:
        array = golden.outputs.get(spec.name)
        if array is None or not units.sliced or not spec.shape:
            continue
        expected = units.count * (1 if spec.shape[0] == -1 else spec.shape[0])
        if len(array) != expected:
            raise ModelError(
                f"'{path}': 'output.{spec.name}' has {len(array)} rows, expected {expected}"
            )
    labels = golden.labels
    if labels is not None and (labels.dtype.kind not in "iub" or labels.shape != (units.samples,)):
        raise ModelError(
            f"'{path}': 'labels' has the type {labels.dtype} and the shape {list(labels.shape)}, "
            f"expected {units.samples} whole numbers"
        )


def _close(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> bool:
    if expected.dtype.kind != "f":
        return bool(np.all(expected == found))
    return bool(np.allclose(found, expected, rtol=GOLDEN_RTOL, atol=GOLDEN_ATOL))


def _allowed(signature: ModelSignature) -> list[str]:
    names = [f"input.{spec.name}" for spec in signature.inputs]
    return [*names, *(f"output.{spec.name}" for spec in signature.outputs), LABELS]
