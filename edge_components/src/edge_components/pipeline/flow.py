"""A pipeline bound to a model: from a reading to answers, whoever infers."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

from edge_components.contract.pipeline import AlarmSink, Pipeline
from edge_components.pipeline import parts
from edge_components.pipeline.decode import Decoded, read_body, read_file
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.finish import Finish
from edge_components.pipeline.found import Abandon, Answerer, Found
from edge_components.pipeline.preprocess import fit_to_input
from edge_components.pipeline.reading import Answers, Item, Reading
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.state import Stateful
from edge_components.runtime.model import Model


class LocalAnswers:
    """Inference by this device's model."""

    def __init__(self, model: Model, finish: Finish, reports: Reports) -> None:
        self._model = model
        self._finish = finish
        self._reports = reports

    def __call__(self, item: Item, abandon: Abandon) -> Found:
        """Run the model.

        Raises:
            PipelineError: The array does not fit, or a step.
            ModelError: The model failed.
        """
        del abandon
        model = self._model
        spec = model.inputs[0]
        feed = fit_to_input(item.value, spec)
        start = time.perf_counter()
        outputs = model.run({spec.name: feed})
        passed = time.perf_counter() - start
        self._reports.inferred(passed)
        self._reports.recorder.prediction(
            model, passed, model.outputs, outputs, "pipeline", inputs={spec.name: feed}
        )
        named = {out.name: value for out, value in zip(model.outputs, outputs, strict=True)}
        return Found(self._finish(named, item), model.identity, "local")


class Flow:
    """Everything that a pipeline needs, bound to one model.

    Attributes:
        pipeline: What it was built from.
        feed: The source, or None.
        writers: The sinks with their records, alarms first: nothing may hold them up.
        alarms: How many of them are alarms.
        stateful: The parts that remember something.
    """

    def __init__(
        self, model: Model | None, pipeline: Pipeline, site: parts.Site, reports: Reports
    ) -> None:
        steps = (*pipeline.preprocess, *pipeline.postprocess)
        assets = parts.read_assets(steps, site.package)
        self.pipeline = pipeline
        self.site = site
        self.feed: parts.Feed | None = None
        self._stages: list[parts.Stage] = []
        self._finish: Finish | None = None
        self.writers: list[tuple[Any, parts.Writer]] = []
        try:
            if pipeline.source is not None:
                self.feed = parts.build_feed(pipeline.source, site)
            self._stages = parts.build_stages(pipeline.preprocess, assets, site)
            self._finish = Finish(pipeline, assets, site)
            self._answer = _answerer(model, self._finish, pipeline, site, reports)
            ordered = sorted(pipeline.sinks, key=lambda sink: not isinstance(sink, AlarmSink))
            for sink in ordered:
                self.writers.append((sink, parts.build_writer(sink, site, reports)))
        except PipelineError:
            self.close()
            raise
        self.alarms = sum(isinstance(sink, AlarmSink) for sink in pipeline.sinks)
        working = (*self._stages, *self._finish.stages.values(), *(w for _, w in self.writers))
        self.stateful: list[Stateful] = [part for part in working if _remembers(part)]

    def take_over(self, old: Flow) -> None:
        """Keep the old flow's sinks that are the same, with what still waits in them."""
        if self.site.device != old.site.device:
            return
        for index, (sink, writer) in enumerate(self.writers):
            for place, (other, present) in enumerate(old.writers):
                if sink == other and not isinstance(sink, AlarmSink):
                    self.writers[index] = (sink, present)
                    del old.writers[place]
                    parts.close_all([writer])
                    break

    def answer(self, reading: Reading, abandon: Abandon) -> Answers:
        """Take a reading through the steps; nothing for a threshold, or a window not complete.

        Raises:
            PipelineError: The reading, or a step.
            ModelError: The model.
        """
        decoded = _decode(reading)
        first = Item(
            decoded.value,
            name=reading.name,
            key=decoded.key or reading.key,
            time_ns=reading.time_ns,
        )
        items = [first]
        for stage in self._stages:
            items = [after for item in items for after in stage(item)]
        answers = []
        for item in items:
            found = self._answer(item, abandon)
            if not found.work.dropped:
                answers.append(_envelope(item, found))
        return answers

    def close(self, timeout_s: float = 0.0) -> None:
        """End what the flow started; sinks may deliver what waits for so long."""
        parts.close_all(self._stages)
        if self._finish is not None:
            parts.close_all(list(self._finish.stages.values()))
        parts.close_all([writer for _, writer in self.writers], timeout_s)
        parts.close_all([self._answer] if hasattr(self, "_answer") else [])


def _answerer(
    model: Model | None, finish: Finish, pipeline: Pipeline, site: parts.Site, reports: Reports
) -> Answerer:
    if pipeline.source is not None and model is not None and len(model.inputs) != 1:
        raise PipelineError(f"the model has {len(model.inputs)} inputs, a source feeds one")
    local = None if model is None else LocalAnswers(model, finish, reports)
    if pipeline.remote is None and pipeline.fallback is None:
        if local is None:
            raise PipelineError("there is no model, and no 'remote' or 'fallback' to ask instead")
        return local
    name = "" if model is None else model.identity.name
    # Only a pipeline that asks others pays for knowing how.
    remote = import_module("edge_components.pipeline.remote")
    answerer: Answerer = remote.build(
        pipeline, name, local, finish=finish, device=site.device, reports=reports
    )
    return answerer


def build_flow(model: Model | None, pipeline: Pipeline, site: parts.Site, reports: Reports) -> Flow:
    """Bind a pipeline to a model; relative folders are below the site's ``state_dir``.

    Raises:
        PipelineError: A file is missing, the device lacks something that the pipeline names, or
            the model does not take a single reading.
    """
    return Flow(model, pipeline, site, reports)


def _remembers(part: Any) -> bool:
    return bool(getattr(part, "state_key", ""))


def _decode(reading: Reading) -> Decoded:
    body = reading.body
    if isinstance(body, PipelineError):
        raise body
    if isinstance(body, Path):
        return read_file(body)
    return read_body(reading.name, body) if isinstance(body, bytes) else Decoded(body)


def _envelope(item: Item, found: Found) -> dict[str, Any]:
    identity = found.identity
    envelope: dict[str, Any] = {
        "reading": item.name,
        "time_unix_ns": time.time_ns(),
        "model": identity.name,
        "version": identity.version,
        "release": identity.release,
        "answer": found.work.answer,
    }
    if item.key:
        envelope["key"] = item.key
    if found.origin != "local":
        envelope["from"] = found.origin
    return envelope
