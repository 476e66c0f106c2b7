"""The pipeline: what happens to a reading on its way to an answer.

``source → queue → preprocess → infer → postprocess → sinks``. The same types validate the project
file and drive the device, so a step that the device cannot do is refused where it is written.
A step in the project file is a mapping of one key, the step's kind; here it is tagged.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from edge_components.contract.pipeline_parts import Count, Networked, Part, Seconds, Share
from edge_components.contract.pipeline_sinks import (
    AlarmSink,
    DirectorySink,
    HttpSink,
    LambdaSink,
    ModuleSink,
    MqttSink,
    Sink,
    StdoutSink,
)
from edge_components.contract.pipeline_sources import (
    CameraSource,
    DirectorySource,
    MqttSource,
    PushSource,
    SeriesSource,
    Source,
    StdinSource,
)
from edge_components.contract.pipeline_steps import (
    ASSET_FIELDS,
    Argmax,
    Cast,
    Crop,
    DecodeBoxes,
    Grayscale,
    Letterbox,
    Nms,
    Normalize,
    PostprocessStep,
    PreprocessStep,
    Reshape,
    Resize,
    Scale,
    Sigmoid,
    Softmax,
    Step,
    Text,
    Threshold,
    TopK,
    Transpose,
    User,
    Value,
    Window,
    named_assets,
    rename_assets,
)

__all__ = [
    "ASSET_FIELDS",
    "AlarmSink",
    "Argmax",
    "CameraSource",
    "Cast",
    "Crop",
    "DecodeBoxes",
    "DirectorySink",
    "DirectorySource",
    "Fallback",
    "Grayscale",
    "HttpSink",
    "LambdaSink",
    "Letterbox",
    "ModuleSink",
    "MqttSink",
    "MqttSource",
    "Networked",
    "Nms",
    "Normalize",
    "Part",
    "Pipeline",
    "PostprocessStep",
    "PreprocessStep",
    "PushSource",
    "Queue",
    "Remote",
    "Reshape",
    "Resize",
    "Scale",
    "SeriesSource",
    "Sigmoid",
    "Sink",
    "Softmax",
    "Source",
    "StdinSource",
    "StdoutSink",
    "Step",
    "Text",
    "Threshold",
    "TopK",
    "Transpose",
    "User",
    "Value",
    "Window",
    "asset_names",
    "named_assets",
    "rename_assets",
]


class Queue(Part, frozen=True, kw_only=True):
    """What happens when readings come faster than they are answered.

    Attributes:
        policy: ``block``: the source waits. ``drop_oldest``: the newest readings count.
            ``sample``: from half full on only every so many readings are taken, and none when
            it is full.
        length: Readings that may wait.
        every: Of how many readings ``sample`` takes one.
    """

    policy: Literal["block", "drop_oldest", "sample"] = "block"
    length: Count = 16
    every: Annotated[int, Meta(ge=2, le=1 << 20)] = 4


class Breaker(Networked, frozen=True, kw_only=True):
    """A remote model, and when to leave it alone.

    Attributes:
        model: Its name; by default the application's.
        version: Its version; "" for what the remote prefers.
        failures: After so many failures in a row it is not asked for a while.
        retry_s: For how long, doubled up to ``max_retry_s`` while it stays away.
    """

    model: str = ""
    version: str = ""
    failures: Annotated[int, Meta(ge=1, le=1000)] = 3
    retry_s: Seconds = 1.0
    max_retry_s: Seconds = 60.0


class Remote(Breaker, frozen=True, kw_only=True):
    """Inference by a server of the site (Open Inference Protocol), not by this device.

    Attributes:
        deadline_s: Longest wait for one answer.
        when_down: ``wait`` holds readings back until the server is there again; ``fail`` sets
            them aside.
    """

    deadline_s: Seconds = 2.0
    when_down: Literal["wait", "fail"] = "wait"


class Fallback(Breaker, frozen=True, kw_only=True):
    """A second opinion from a remote model; without it the local answer stands.

    Attributes:
        confidence_below: Ask when the local answer's score is below this; None asks only where
            there is no local model.
        deadline_s: Longest wait for the second opinion.
    """

    confidence_below: Share | None = None
    deadline_s: Seconds = 0.5


class Pipeline(Part, frozen=True, kw_only=True):
    """What runs on the device around the model; every part may be missing.

    Attributes:
        source: Where readings come from.
        queue: Between source and steps; None for what suits the source (``drop_oldest`` of 2
            for a camera, ``block`` of 16 for others and for a video file).
        preprocess: What is done before inference, in order.
        remote: Who infers, if not this device.
        fallback: Whom to ask when the local answer is not good enough.
        postprocess: What is done with the outputs, in order.
        sink: Where answers go: one sink or several.
    """

    source: Source | None = None
    queue: Queue | None = None
    preprocess: tuple[PreprocessStep, ...] = ()
    remote: Remote | None = None
    fallback: Fallback | None = None
    postprocess: tuple[PostprocessStep, ...] = ()
    sink: Sink | tuple[Sink, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be together.

        Raises:
            ValueError: With what is wrong.
        """
        if self.remote is not None and self.fallback is not None:
            raise ValueError("has both 'remote' and 'fallback'; a remote model is asked anyway")

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """All sinks."""
        if self.sink is None:
            return ()
        return self.sink if isinstance(self.sink, tuple) else (self.sink,)

    @property
    def waiting_room(self) -> Queue:
        """The queue, or the one that suits the source."""
        if self.queue is not None:
            return self.queue
        if isinstance(self.source, CameraSource) and self.source.at_end == "reconnect":
            return Queue(policy="drop_oldest", length=2)
        return Queue()


def asset_names(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the names of all files that the pipeline's steps need, each once."""
    steps: tuple[Step, ...] = (*pipeline.preprocess, *pipeline.postprocess)
    return tuple(dict.fromkeys(name for step in steps for name in named_assets(step).values()))
