"""Reading a project: from ``edgectl.yaml`` to checked records.

Every error names file, line and the full key. ``${NAME}`` and ``${NAME:-default}`` are expanded
in values of ``providers`` only, and only when that provider is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import msgspec

from edge_components.contract import pipeline as contract
from edge_components.contract.hardware import PROFILES
from edge_components.contract.release import DeviceSettings
from edgectl.durations import parse_duration
from edgectl.errors import ProjectError
from edgectl.model.gates import parse_gate
from edgectl.project.network import read_network, read_window
from edgectl.project.parts import P, by_tag, read_kind, read_part
from edgectl.project.spec import GateSpec, ProjectSpec, Step
from edgectl.project.steps import POSTPROCESS, PREPROCESS, asset_path, read_step
from edgectl.project.validate import InvalidKeyError, validate
from edgectl.project.yamltree import YamlError, parse_yaml
from edgectl.records import Target
from edgectl.rollout.gates import MEASURES, GatePolicy, read_gate
from edgectl.rollout.policy import FailureThreshold, RolloutPolicy, parse_waves
from edgectl.rollout.window import Window

PROJECT_FILE = "edgectl.yaml"
STATE_DIR = ".edgectl"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Project:
    """A project that was read and checked.

    Attributes:
        path: The project file.
        dir: Its folder; every path in the file is relative to it.
        state_dir: ``.edgectl`` below it: store, keys, journal.
        spec: The file's content.
        pipeline: The pipeline as the device reads it.
        assets: Files that the pipeline names: name below the package's ``edgectl/assets`` to path
            on this machine.
        policy: The rollout policy.
        settings: How devices run the release, whatever their target; ``settings_of`` says it for
            one target.
    """

    def __init__(self, path: Path, spec: ProjectSpec, lines: dict[str, int]) -> None:
        self.path = path
        self.dir = path.parent
        self.state_dir = self.dir / STATE_DIR
        self.spec = spec
        self._lines = lines
        self.pipeline, self.assets = self._read_pipeline()
        self.policy = self._read_policy()
        self.settings = DeviceSettings(
            soak_s=self._duration("device.soak", spec.device.soak),
            precision=spec.device.precision,
            telemetry_sample=spec.device.telemetry_sample,
            record=spec.device.record,
            redact=spec.device.redact,
        )
        self._check_targets()
        self._check_model()

    def locate(self, key: str) -> str:
        """Return ``file:line: key``, with the line of the nearest parent that stands there."""
        return _locate(self.path, self._lines, key)

    def error(self, key: str, message: str, *, hint: str = "") -> ProjectError:
        """Make an error that names file, line and key."""
        return ProjectError(f"{self.locate(key)}: {message}", hint=hint)

    def target(self, name: str) -> Target:
        """Return the target called ``name``.

        Raises:
            ProjectError: The project has no such target.
        """
        spec = self.spec.targets.get(name)
        if spec is None:
            known = ", ".join(sorted(self.spec.targets)) or "none"
            raise ProjectError(
                f"{self.path.name} has no target '{name}'", hint=f"its targets: {known}"
            )
        return Target(
            name=name,
            provider=spec.provider,
            selector=spec.selector,
            hardware=spec.hardware,
            after=spec.after,
            gate_soak_s=self._duration(f"targets.{name}.gate.soak", spec.gate.soak),
            needs_approval=spec.gate.approve,
        )

    def targets(self, names: tuple[str, ...] = (), providers: tuple[str, ...] = ()) -> list[Target]:
        """Return the named targets, each once, or all; of some providers where they are given.

        Raises:
            ProjectError: A name is unknown, or nothing is left.
        """
        chosen = [self.target(name) for name in dict.fromkeys(names or sorted(self.spec.targets))]
        if providers:
            chosen = [target for target in chosen if target.provider in providers]
        if not chosen:
            what = f" of provider {_quoted(providers)}" if providers else ""
            raise ProjectError(
                f"{self.path.name} has no target{what}",
                hint="add one under `targets:`, with its provider and selector",
            )
        return chosen

    def provider_config(self, name: str) -> dict[str, Any]:
        """Return a provider's settings with environment variables expanded.

        Raises:
            ProjectError: A variable is not set.
        """
        settings = self.spec.providers.get(name, {})
        return {key: self._expand(f"providers.{name}.{key}", v) for key, v in settings.items()}

    def file(self, key: str, written: str) -> Path:
        """Return the absolute path of a project file that a key names.

        Raises:
            ProjectError: The path leaves the project's folder.
        """
        path = (self.dir / written).resolve()
        if not path.is_relative_to(self.dir.resolve()):
            raise self.error(key, f"'{written}' is outside the project's folder")
        return path

    def _expand(self, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self._expand(f"{key}.{k}", v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._expand(f"{key}[{i}]", v) for i, v in enumerate(value)]
        if not isinstance(value, str):
            return value

        def replace(match: re.Match[str]) -> str:
            found = os.environ.get(match.group(1), match.group(2))
            if found is None:
                raise self.error(
                    key,
                    f"environment variable '{match.group(1)}' is not set",
                    hint=f"export {match.group(1)}=…",
                )
            return found

        return _VARIABLE.sub(replace, value)

    def _read_pipeline(self) -> tuple[contract.Pipeline, dict[str, Path]]:
        spec = self.spec.pipeline
        assets: dict[str, Path] = {}
        try:
            pipeline = contract.Pipeline(
                source=_kind(spec.source, contract.Source, "pipeline.source"),
                queue=_part(spec.queue, contract.Queue, "pipeline.queue"),
                preprocess=tuple(self._steps("preprocess", spec.preprocess, PREPROCESS, assets)),
                remote=_part(spec.remote, contract.Remote, "pipeline.remote"),
                fallback=_part(spec.fallback, contract.Fallback, "pipeline.fallback"),
                postprocess=tuple(
                    self._steps("postprocess", spec.postprocess, POSTPROCESS, assets)
                ),
                sink=_sinks(spec.sink),
            )
        except InvalidKeyError as exc:
            raise self.error(exc.key, str(exc)) from exc
        except ValueError as exc:
            raise self.error("pipeline", str(exc)) from exc
        return pipeline, assets

    def _steps(
        self, part: str, steps: tuple[Step, ...], kinds: dict[str, Any], assets: dict[str, Path]
    ) -> list[Any]:
        result = []
        for index, written in enumerate(steps):
            key = f"pipeline.{part}[{index}]"
            try:
                step = read_step(written, kinds, key)
            except InvalidKeyError as exc:
                raise self.error(exc.key, str(exc)) from exc
            named = contract.named_assets(step)
            for field, name in named.items():
                local = self.file(f"{key}.{field}", name)
                if assets.setdefault(local.name, local) != local:
                    raise self.error(key, f"two files named '{local.name}' are used as {field}")
            inside = {field: asset_path(name) for field, name in named.items()}
            result.append(contract.rename_assets(step, inside))
        return result

    def _read_policy(self) -> RolloutPolicy:
        spec = self.spec.rollout
        try:
            waves = parse_waves(list(spec.waves))
        except ValueError as exc:
            raise self.error("rollout.waves", str(exc)) from exc
        threshold = spec.failure_threshold
        return RolloutPolicy(
            waves=waves,
            soak_s=self._duration("rollout.soak", spec.soak),
            concurrency=spec.concurrency,
            failure_threshold=(
                FailureThreshold(percent=threshold.percent, min_devices=threshold.min_devices)
                if threshold
                else None
            ),
            on_failure=spec.on_failure,
            timeout_s=self._duration("rollout.timeout", spec.timeout),
            unreachable_grace_s=self._duration("rollout.unreachable_grace", spec.unreachable_grace),
            outage_s=self._duration("rollout.outage", spec.outage),
            pause_after=self._pauses(spec.pause_after, len(waves)),
            gates=self._read_gates(),
        )

    def _read_gates(self) -> GatePolicy | None:
        """Return what a wave must keep to; a soak is the time in which that can be seen."""
        spec = self.spec.rollout.gates
        if spec is None:
            return None
        if not self._duration("rollout.soak", self.spec.rollout.soak):
            raise self.error("rollout.gates", "gates are judged while a wave soaks: set `soak` too")
        gates = []
        for measure in MEASURES:
            written = getattr(spec, measure)
            try:
                gates += [] if written is None else [read_gate(measure, written)]
            except ValueError as exc:
                raise self.error(f"rollout.gates.{measure}", str(exc)) from exc
        try:
            return GatePolicy(
                gates=tuple(gates), on_missing=spec.on_missing, min_samples=spec.min_samples
            )
        except ValueError as exc:
            raise self.error("rollout.gates", str(exc)) from exc

    def _pauses(self, waves: tuple[int, ...], count: int) -> tuple[int, ...]:
        beyond = [wave for wave in waves if wave > count]
        if beyond:
            raise self.error("rollout.pause_after", f"there are {count} waves, no wave {beyond[0]}")
        return waves

    def window(self, name: str) -> Window | None:
        """Return when devices of a target may be given a release; None for always."""
        spec = self.spec.targets[name].window
        if spec is None:
            return None
        try:
            return read_window(spec)
        except ValueError as exc:
            raise self.error(f"targets.{name}.window", str(exc)) from exc

    def settings_of(self, name: str) -> DeviceSettings:
        """Return how devices of a target run the release, the limits of their network included.

        Raises:
            ProjectError: The network's limits are wrong.
        """
        try:
            network = read_network(self.spec.targets[name].network)
        except InvalidKeyError as exc:
            raise self.error(f"targets.{name}.network.{exc.key}", str(exc)) from exc
        return msgspec.structs.replace(self.settings, network=network)

    def _duration(self, key: str, written: str | float) -> float:
        try:
            return parse_duration(written)
        except ValueError as exc:
            raise self.error(key, str(exc)) from exc

    def _check_targets(self) -> None:
        for name, target in self.spec.targets.items():
            if target.hardware is not None and target.hardware not in PROFILES:
                known = ", ".join(sorted(PROFILES))
                raise self.error(
                    f"targets.{name}.hardware",
                    f"'{target.hardware}' is not a hardware profile",
                    hint=f"profiles: {known}",
                )
            unknown = [other for other in target.after if other not in self.spec.targets]
            if unknown:
                raise self.error(
                    f"targets.{name}.after",
                    f"there is no target {_quoted(unknown)}",
                    hint=f"targets: {', '.join(sorted(self.spec.targets))}",
                )
            if target.gate != GateSpec() and not target.after:
                raise self.error(f"targets.{name}.gate", "a gate needs `after`")
            self._duration(f"targets.{name}.gate.soak", target.gate.soak)
            self.window(name)
            self.settings_of(name)
        try:
            TopologicalSorter({n: t.after for n, t in self.spec.targets.items()}).prepare()
        except CycleError as exc:
            circle = " after ".join(f"'{name}'" for name in reversed(exc.args[1]))
            raise self.error("targets", f"no target can be first: {circle}") from exc

    def _check_model(self) -> None:
        for metric, written in self.spec.model.gates.items():
            try:
                parse_gate(written)
            except ValueError as exc:
                raise self.error(f"model.gates.{metric}", str(exc)) from exc
        precisions = [variant.precision for variant in self.spec.model.variants]
        if len(set(precisions)) != len(precisions):
            raise self.error("model.variants", "a precision is given twice")


def load_project(path: Path) -> Project:
    """Read and check a project file.

    Args:
        path: The file, or the folder that holds ``edgectl.yaml``.

    Raises:
        ProjectError: It is missing or wrong; the message names file, line and key.
    """
    file = path / PROJECT_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ProjectError(
            f"there is no project file '{file}'",
            hint="`edgectl init` writes one; `--project` names another",
        ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ProjectError(f"'{file}' cannot be read: {exc}") from exc
    try:
        tree = parse_yaml(text)
    except YamlError as exc:
        raise ProjectError(f"{file.name}:{exc.line}: {exc}") from exc
    try:
        spec = validate(tree.data, ProjectSpec)
    except InvalidKeyError as exc:
        raise ProjectError(f"{_locate(file, tree.lines, exc.key)}: {exc}") from exc
    return Project(file.absolute(), spec, tree.lines)


def _kind(written: dict[str, Any] | None, union: Any, key: str) -> Any:
    return None if written is None else read_kind(written, by_tag(union), key)


def _part(written: dict[str, Any] | None, kind: type[P], key: str) -> P | None:
    return None if written is None else read_part(written, kind, key)


def _sinks(written: dict[str, Any] | tuple[dict[str, Any], ...] | None) -> Any:
    if not isinstance(written, tuple):
        return _kind(written, contract.Sink, "pipeline.sink")
    return tuple(
        _kind(one, contract.Sink, f"pipeline.sink[{index}]") for index, one in enumerate(written)
    )


def _quoted(names: Iterable[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def _locate(file: Path, lines: dict[str, int], key: str) -> str:
    near = key
    while near and near not in lines:
        near = near[: max(near.rfind("."), near.rfind("["), 0)]
    return f"{file.name}:{lines.get(near, 1)}: {key}"
