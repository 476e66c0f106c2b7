"""A loaded model: an ONNX Runtime session with the signature that clients see.

Session options are chosen by device and size of the weights (``tuning``). BF16 goes through ORT
values, because numpy has no such type.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import onnxruntime as ort

from edge_components.contract.hardware import PROFILES, HardwareProfile
from edge_components.contract.package import TensorSpec
from edge_components.runtime.batching import worthwhile_batch
from edge_components.runtime.bound import Bound
from edge_components.runtime.express import MAX_BYTES, Express
from edge_components.runtime.holdup import HoldUp
from edge_components.runtime.oip.datatypes import NUMPY_TYPES, ORT_TYPES, Array
from edge_components.runtime.oip.decode import ModelSignature
from edge_components.runtime.process import cores, give_way
from edge_components.runtime.providers import (
    CPU,
    RECORD_PLACEMENT,
    first_used,
    for_session,
    placement,
)
from edge_components.runtime.statistics import Statistics
from edge_components.runtime.trial import Trial
from edge_components.runtime.tuning import Tuning, tune
from edge_components.runtime.wide import Wide

_BF16_ONNX_TYPE = 16
_USUAL = "x86-64-cpu"
_WARM_RUNS = 3
_INLINE_MAX_S = 0.001
_BRIEF_MAX_S = 0.01
_TRIAL_S = 2.0


class ModelError(Exception):
    """A model cannot be loaded, or fails while it runs."""


class InputRejected(ModelError):  # noqa: N818  # it is the input's fault, not an error of ours
    """ONNX Runtime refuses the input; the client can act on the message."""


class _Node(Protocol):
    name: str
    type: str
    shape: list[Any]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose model this is: what answers and telemetry say of it."""

    name: str
    version: str = "1"
    release: int = 0
    package: str = ""
    precision: str = ""


class Model:
    """A session that is ready to answer.

    Attributes:
        provider: The execution provider that really does the work.
        asked: Those that the session was made with, best first.
        nodes: How many of the model's nodes each got; empty where ONNX Runtime does not tell.
        latency_s: Of a warm run with the smallest input; infinite where that says nothing.
        statistics: What it has answered.
        holdup: Watches how long it holds up the event loop.
        express: The lanes for small requests of the same form.
        wide: The lanes for those that run on threads.
        max_batch: How many requests that wait are run together; 1 for none.
    """

    def __init__(self, session: ort.InferenceSession, identity: Identity) -> None:
        self.identity = identity
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.signature = ModelSignature(
            {spec.name: spec for spec in self.inputs}, {spec.name: spec for spec in self.outputs}
        )
        self.asked: list[str] = session.get_providers()
        self.nodes = placement(session)
        self.provider = first_used(self.asked, self.nodes)
        self.latency_s = 0.0
        self.max_batch = 1
        self.statistics = Statistics()
        self.holdup = HoldUp(on_cpu=self.provider == CPU)
        self.express = Express(self.inputs, self.outputs, self.holdup)
        self.wide = Wide(self.signature)
        self._elements = 1
        self._session = session
        # The bound C object, where there is one: ``run`` of the class around it checks the names
        # of inputs and outputs once more, which costs as much as decoding a small request.
        self._run = getattr(session, "_sess", session).run
        self._all = [spec.name for spec in self.outputs]
        specs = (*self.inputs, *self.outputs)
        self._plain = all(spec.datatype != "BF16" for spec in specs)
        if not self._plain and any(spec.datatype == "BYTES" for spec in self.inputs):
            raise ModelError(
                "a model with BF16 cannot have inputs of BYTES: from Python ONNX Runtime takes "
                "BF16 as ORT values only, and strings as arrays only"
            )
        self._batched = next(
            (spec.name for spec in self.inputs if spec.shape and spec.shape[0] < 0), None
        )

    def run(
        self,
        feeds: Mapping[str, Array],
        outputs: list[str] | None = None,
        *,
        options: ort.RunOptions | None = None,
    ) -> list[Array]:
        """Run the model on arrays of its input types and shapes.

        Raises:
            InputRejected: The sizes do not fit each other inside the model.
            ModelError: The model failed.
        """
        names = self._all if outputs is None else outputs
        try:
            if self._plain:
                found: list[Array] = self._run(names, feeds, options)
                return found
            return self._run_values(feeds, names)
        except _ort_error("InvalidArgument") as exc:
            raise InputRejected(f"the model refuses the input: {_first_line(exc)}") from exc
        except Exception as exc:
            raise ModelError(f"the model failed: {_first_line(exc)}") from exc

    def open_wide_lane(self, inputs: Mapping[str, Array], outputs: Sequence[Array]) -> None:
        """Answer requests of this form with less around the run from now on; see ``open_lane``."""
        identity = self.identity
        model = identity.name, identity.version
        self.wide.open(inputs, outputs, model, self.samples(inputs))

    def open_lane(self, inputs: Mapping[str, Array], outputs: Sequence[Array]) -> None:
        """Answer requests of this form faster from now on, if that is possible at all.

        Args:
            inputs: Of a request that was answered.
            outputs: Its answer, all of it in the model's order.
        """
        arrays = [*inputs.values(), *outputs]
        sizes = [array.nbytes for array in arrays]
        if self.provider != CPU or min(sizes) == 0 or sum(sizes) > MAX_BYTES:
            return
        names = [spec.name for spec in self.outputs]
        bound = Bound(self._session, inputs, dict(zip(names, outputs, strict=True)))
        identity = self.identity
        samples = self.samples(inputs)
        self.express.open(bound, (identity.name, identity.version), samples)

    def runs_inline(self, elements: int) -> bool:
        """Whether a request of so many input elements is quick enough for the event loop."""
        return self.latency_s * max(1.0, elements / self._elements) <= _INLINE_MAX_S

    def is_brief(self, elements: int) -> bool:
        """Whether it is quick enough for the event loop where a thread would gain nothing."""
        if self.max_batch > 1 or self.provider != CPU:
            return False
        return self.latency_s * max(1.0, elements / self._elements) <= _BRIEF_MAX_S

    def leave_loop(self) -> None:
        """Run on the event loop no more, whatever was measured when the model was loaded."""
        self.latency_s = float("inf")
        self.express.close()

    def samples(self, feeds: Mapping[str, Array]) -> int:
        """Return how many samples a request holds: its batch where the model has such an axis."""
        return 1 if self._batched is None else feeds[self._batched].shape[0]

    def warm(self) -> None:
        """Run on zeros a few times and note how long that takes.

        Raises:
            ModelError: All shapes are fixed, and the model fails on zeros.
        """
        feeds = {spec.name: _zeros(spec) for spec in self.inputs}
        times = []
        for _ in range(_WARM_RUNS):
            start = time.perf_counter()
            try:
                self.run(feeds)
            except ModelError:
                # Sizes that vary were guessed as 1, which a model may refuse; without a measured
                # latency it stays on the thread pool.
                if all(-1 not in spec.shape for spec in self.inputs):
                    raise
                break
            times.append(time.perf_counter() - start)
        self.latency_s = min(times, default=float("inf"))
        self._elements = max(1, sum(array.size for array in feeds.values()))

    def trim(self) -> None:
        """Give back the memory that larger inputs than the usual have left behind."""
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        feeds = {spec.name: _zeros(spec) for spec in self.inputs}
        with contextlib.suppress(Exception):  # sizes that were guessed, as in warm()
            self._session.run(self._all, feeds, options)

    def _run_values(self, feeds: Mapping[str, Array], names: list[str]) -> list[Array]:
        values = {name: self._value(name, array) for name, array in feeds.items()}
        found = self._session.run_with_ort_values(names, values)
        return [_array(value) for value in found]

    def _value(self, name: str, array: Array) -> ort.OrtValue:
        if self.signature.inputs[name].datatype == "BF16":
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
                np.require(array, requirements="C"), _BF16_ONNX_TYPE
            )
        return ort.OrtValue.ortvalue_from_numpy(array)


def load_model(
    path: Path,
    identity: Identity,
    providers: Sequence[str],
    options: Mapping[str, Mapping[str, str]] | None = None,
    *,
    profile: HardwareProfile | None = None,
) -> Model:
    """Load a model file with those of ``providers`` that this ONNX Runtime offers, and warm it.

    Args:
        path: The file.
        identity: Whose model it is.
        providers: Best first.
        options: Of providers, by name.
        profile: The device, which says how many threads and how much memory there is to use;
            None for the usual.

    Raises:
        ModelError: With what ONNX Runtime says.
    """
    wanted = for_session(providers, ort.get_available_providers(), options or {})
    try:
        tuning = tune(profile or PROFILES[_USUAL], _size(path), cores())
        give_way()
        session = ort.InferenceSession(str(path), _options(tuning), providers=wanted)
        give_way()
        model = Model(session, identity)
        give_way()
    except ModelError:
        raise
    except Exception as exc:
        raise ModelError(f"'{path.name}' cannot be loaded: {_first_line(exc)}") from exc
    model.warm()
    give_way()
    with Trial(model, _TRIAL_S) as trial:
        model.max_batch = worthwhile_batch(trial, tuning.max_batch)
    if tuning.keeps_memory and model.max_batch == 1:
        model.trim()
    return model


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as exc:
        raise ModelError(f"'{path.name}' cannot be read: {exc.strerror}") from exc


def _options(tuning: Tuning) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = tuning.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = tuning.keeps_memory
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(RECORD_PLACEMENT, "1")
    return options


def _spec(node: _Node) -> TensorSpec:
    datatype = ORT_TYPES.get(node.type)
    if datatype is None:
        raise ModelError(f"'{node.name}' has type {node.type}, only tensors can be served")
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape)
    return TensorSpec(name=node.name, datatype=datatype, shape=shape)


def _zeros(spec: TensorSpec) -> Array:
    shape = tuple(1 if dim < 0 else dim for dim in spec.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=np.object_)
    return np.zeros(shape, dtype=NUMPY_TYPES[spec.datatype])


def _array(value: ort.OrtValue) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        array: Array = value.numpy()
        return array
    size = value.tensor_size_in_bytes()
    data = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(data, dtype=np.uint16).reshape(value.shape())


def _ort_error(name: str) -> type[Exception]:
    found: type[Exception] = getattr(ort.capi.onnxruntime_pybind11_state, name)
    return found


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().partition("\n")[0][:300] or type(exc).__name__
