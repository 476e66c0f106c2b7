"""The pipeline at work: a thread that takes readings from the source to the sink.

It uses the same model as the server and changes with it: model, steps and labels are one object
that an activation replaces. A reading that fails is set aside with an event; a folder that cannot
be used is an event once, and is tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.package import check_path
from edge_components.contract.pipeline import Argmax, Pipeline, TopK
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.postprocess import postprocess
from edge_components.pipeline.preprocess import fit_to_input, preprocess
from edge_components.pipeline.readings import read_reading
from edge_components.pipeline.sink import DirectoryWriter
from edge_components.pipeline.source import DirectoryReader
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.model import Model, ModelError
from edge_components.telemetry.recorder import Recorder

log = logging.getLogger(__name__)

_IDLE_S = 0.5
_WARNING = 13
_ASSETS = "edgectl/assets"
_MAX_LABEL_BYTES = 4 << 20


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline with everything it needs, bound to one model."""

    model: Model
    pipeline: Pipeline
    labels: Mapping[str, Sequence[str]]
    reader: DirectoryReader | None
    writer: DirectoryWriter | None


def build_flow(model: Model, pipeline: Pipeline, package: Path, state_dir: Path) -> Flow:
    """Bind a pipeline to a model; relative folders are below ``state_dir``.

    Raises:
        PipelineError: A label file is missing, or the model does not take a single reading.
    """
    if pipeline.source is not None and len(model.inputs) != 1:
        raise PipelineError(f"the model has {len(model.inputs)} inputs, a source feeds one")
    named = [step.labels for step in pipeline.postprocess if isinstance(step, (Argmax, TopK))]
    source, sink = pipeline.source, pipeline.sink
    return Flow(
        model=model,
        pipeline=pipeline,
        labels={name: _read_labels(package, name) for name in named if name is not None},
        reader=None
        if source is None
        else DirectoryReader(source, state_dir / source.path, state_dir / "pipeline.seen"),
        writer=None if sink is None else DirectoryWriter(sink, state_dir / sink.path),
    )


class PipelineRunner:
    """The thread."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._flow: Flow | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def use(self, flow: Flow | None) -> None:
        """Work with ``flow`` from the next reading on."""
        self._flow = flow
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the present reading and end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping:
            flow = self._flow
            wait_s = _IDLE_S
            if flow is not None and flow.reader is not None and flow.pipeline.source is not None:
                wait_s = max(0.02, flow.pipeline.source.poll_s)
                self._round(flow, flow.reader)
            self._wake.wait(wait_s if self._flow is not None else None)
            self._wake.clear()

    def _round(self, flow: Flow, reader: DirectoryReader) -> None:
        try:
            for path in reader.look():
                if self._stopping or self._flow is not flow:
                    return
                self._one(flow, reader, path)
        except OSError as exc:
            self._once(f"the pipeline's folder cannot be used: {exc}")
        except Exception as exc:  # the pipeline must outlive any reading
            log.exception("the pipeline failed")
            self._once(f"the pipeline failed: {exc!r}")
        else:
            self._trouble = ""

    def _one(self, flow: Flow, reader: DirectoryReader, path: Path) -> None:
        try:
            answer = process(flow, path, self._recorder)
        except (PipelineError, ModelError) as exc:
            self._metrics.errors["pipeline_reading"] += 1
            self._event(f"a reading failed: {exc}", {"file": path.name})
            reader.reject(path)
            return
        if answer is not None and flow.writer is not None:
            flow.writer.write(path.name, answer)
        self._metrics.pipeline_readings += 1
        reader.finish(path)

    def _once(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            self._metrics.errors["pipeline"] += 1
            self._event(text, {})

    def _event(self, text: str, attributes: dict[str, str | int | float | bool]) -> None:
        log.warning(text)
        self._recorder.event(text, severity=_WARNING, attributes=attributes)


def process(flow: Flow, path: Path, recorder: Recorder) -> dict[str, Any] | None:
    """Take one file through the pipeline; None where a threshold drops the answer.

    Raises:
        PipelineError: The file or a step.
        ModelError: The model.
    """
    model = flow.model
    array = preprocess(read_reading(path), flow.pipeline.preprocess)
    spec = model.inputs[0]
    feed = fit_to_input(array, spec)
    start = time.perf_counter()
    outputs = model.run({spec.name: feed})
    passed = time.perf_counter() - start
    recorder.prediction(model, passed, model.outputs, outputs, "pipeline", inputs={spec.name: feed})
    named = {out.name: value for out, value in zip(model.outputs, outputs, strict=True)}
    answer = postprocess(named, flow.pipeline.postprocess, flow.labels)
    if answer is None:
        return None
    return {
        "reading": path.name,
        "time_unix_ns": time.time_ns(),
        "model": model.identity.name,
        "version": model.identity.version,
        "release": model.identity.release,
        "answer": answer,
    }


def _read_labels(package: Path, name: str) -> tuple[str, ...]:
    try:
        check_path(name)
    except ContractError as exc:
        raise PipelineError(str(exc)) from exc
    for path in (package / name, package / _ASSETS / name):
        try:
            if path.stat().st_size <= _MAX_LABEL_BYTES:
                return tuple(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError):
            continue
    raise PipelineError(f"the label file '{name}' is not in the package, or cannot be read")
