"""From the records of a pipeline to the objects that work, each imported when it is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edge_components.contract.device import PipelineSection
from edge_components.contract.errors import ContractError
from edge_components.contract.package import check_path
from edge_components.contract.pipeline import (
    AlarmSink,
    CameraSource,
    DirectorySink,
    DirectorySource,
    HttpSink,
    LambdaSink,
    ModuleSink,
    MqttSink,
    MqttSource,
    PreprocessStep,
    PushSource,
    SeriesSource,
    Sink,
    Source,
    Step,
    Text,
    User,
    Window,
    named_assets,
)
from edge_components.pipeline.endpoints import resolve
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.images import follow
from edge_components.pipeline.preprocess import preprocess
from edge_components.pipeline.reading import Item, Reading
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.state import state_key

Stage = Callable[[Item], list[Item]]
_ASSETS = "edgectl/assets"
_MAX_ASSET_BYTES = 16 << 20
_HTTP = frozenset({"http", "https"})
_MQTT = frozenset({"mqtt", "mqtts"})
_CAMERA = frozenset({"", "rtsp", "rtsps", "http", "https", "file"})


class Feed(Protocol):
    """A source at work."""

    threaded: bool

    def run(self, put: Callable[[Reading], bool], stop: Any) -> None:
        """Bring readings until told to stop, or until there are no more."""


class Writer(Protocol):
    """A sink at work."""

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Take an answer; raises ``OSError`` where it has to be brought again."""

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, at most for so long, and end."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pipeline works: this device and this package.

    Attributes:
        state_dir: What relative paths are relative to.
        package: The folder of the package's files.
        device: The device's own word.
        device_id: The device's id.
        has_stdin: Whether standard input may be read; not where it belongs to a supervisor.
    """

    state_dir: Path
    package: Path
    device: PipelineSection = PipelineSection()
    device_id: str = ""
    has_stdin: bool = True


class ArrayStage:
    """A step from array to array that remembers nothing."""

    def __init__(self, step: PreprocessStep) -> None:
        self._steps = (step,)

    def __call__(self, item: Item) -> list[Item]:
        """Apply it."""
        if isinstance(item.value, str):
            raise PipelineError(f"the reading is a text; '{_tag(self._steps[0])}' takes an array")
        item.value = preprocess(item.value, self._steps)
        item.geometry = follow(item.geometry, self._steps[0])
        return [item]


def build_stages(
    steps: Sequence[PreprocessStep], assets: Mapping[str, Sequence[str]], site: Site
) -> list[Stage]:
    """Build the steps before inference.

    Raises:
        PipelineError: A user step is not installed or does not start.
    """
    stages: list[Stage] = []
    try:
        for index, step in enumerate(steps):
            stages.append(_stage(step, steps[: index + 1], assets, site))
    except PipelineError:
        close_all(stages)
        raise
    return stages


def build_user_step(step: User, chain: Sequence[Step], site: Site) -> Any:
    """Build a user step; ``chain`` are the steps up to it.

    Raises:
        PipelineError: It is not installed, or does not start.
    """
    user = import_module("edge_components.pipeline.user")
    return user.UserStage(step, state_key("user", *chain), site.device.steps)


def build_feed(source: Source, site: Site) -> Feed:
    """Build a source.

    Raises:
        PipelineError: Its library is missing, or nobody says where it is.
    """
    kind = _tag(source)
    module = _import(f"edge_components.pipeline.sources.{kind}", kind)
    feed: Feed
    match source:
        case DirectorySource():
            folder, memory = site.state_dir / source.path, site.state_dir / "pipeline.seen"
            feed = module.DirectoryFeed(source, folder, memory)
        case PushSource():
            feed = module.PushFeed(source)
        case CameraSource():
            feed = module.CameraFeed(source, resolve(source, site.device, _CAMERA))
        case MqttSource():
            endpoint = resolve(source, site.device, _MQTT)
            feed = module.MqttFeed(source, endpoint, site.device_id)
        case SeriesSource():
            path = site.state_dir / source.path
            feed = module.SeriesFeed(source, path, site.state_dir / "pipeline.position")
        case _:
            if not site.has_stdin:
                raise PipelineError("standard input belongs to the supervisor here")
            feed = module.StdinFeed(source)
    return feed


def build_writer(sink: Sink, site: Site, reports: Reports) -> Writer:
    """Build a sink.

    Raises:
        PipelineError: Its library is missing, nobody says where it is, or the device has no such
            command.
    """
    kind = _tag(sink)
    # `lambda` is a word of Python's own.
    name = "function" if isinstance(sink, LambdaSink) else kind
    module = _import(f"edge_components.pipeline.sinks.{name}", kind)
    writer: Writer
    match sink:
        case LambdaSink():
            writer = module.FunctionWriter(sink, reports)
        case ModuleSink():
            writer = module.ModuleWriter(sink, reports)
        case DirectorySink():
            writer = module.DirectoryWriter(sink, site.state_dir / sink.path)
        case HttpSink():
            writer = module.HttpWriter(sink, resolve(sink, site.device, _HTTP), reports)
        case MqttSink():
            writer = module.MqttWriter(sink, resolve(sink, site.device, _MQTT), reports)
        case AlarmSink():
            parts = (sink.post, sink.publish)
            messengers = [build_writer(part, site, reports) for part in parts if part is not None]
            writer = module.AlarmWriter(sink, site.device.commands, messengers, reports)
        case _:
            writer = module.StdoutWriter()
    return writer


def read_assets(steps: Sequence[Step], package: Path) -> dict[str, tuple[str, ...]]:
    """Read the files that steps name, by their names.

    Raises:
        PipelineError: One is not in the package, or cannot be read.
    """
    names = dict.fromkeys(name for step in steps for name in named_assets(step).values())
    return {name: _read_lines(package, name) for name in names}


def close_all(parts: Sequence[object], timeout_s: float = 0.0) -> None:
    """Close those of some parts that can be closed."""
    for part in parts:
        close = getattr(part, "close", None)
        if close is not None:
            close(timeout_s)


def _stage(
    step: PreprocessStep,
    chain: Sequence[PreprocessStep],
    assets: Mapping[str, Sequence[str]],
    site: Site,
) -> Stage:
    match step:
        case Window():
            window = import_module("edge_components.pipeline.window")
            stage: Stage = window.WindowStage(step, state_key("window", *chain))
        case Text():
            text = import_module("edge_components.pipeline.text")
            stage = text.TextStage(step, assets.get(step.vocabulary or "", ()))
        case User():
            stage = build_user_step(step, chain, site)
        case _:
            stage = ArrayStage(step)
    return stage


def _import(module: str, kind: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        raise PipelineError(
            f"'{kind}' needs '{exc.name}', which is not installed: "
            f"install edgectl-edge-components[{kind}]"
        ) from exc


def _tag(part: msgspec.Struct) -> str:
    return str(part.__struct_config__.tag)


def _read_lines(package: Path, name: str) -> tuple[str, ...]:
    try:
        check_path(name)
    except ContractError as exc:
        raise PipelineError(str(exc)) from exc
    for path in (package / name, package / _ASSETS / name):
        try:
            if path.stat().st_size <= _MAX_ASSET_BYTES:
                return tuple(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError):
            continue
    raise PipelineError(f"the file '{name}' is not in the package, or cannot be read")
