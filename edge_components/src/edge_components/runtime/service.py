"""The runtime as a whole: what is active, and how it changes.

An activation loads and warms the new model on a thread while the old one serves, then replaces
model, pipeline and telemetry's subject. If anything fails the old version goes on as if nothing
had happened.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.state import Reason
from edge_components.contract.telemetry import Value
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.pipe import read_pipeline_file
from edge_components.pipeline.runner import PipelineRunner
from edge_components.runtime.choosing import load_checked
from edge_components.runtime.control import Activated, Event, Status
from edge_components.runtime.load import load_file, load_variant
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.model import Model
from edge_components.runtime.process import rss_bytes
from edge_components.runtime.registry import Registry
from edge_components.runtime.repository import Repository
from edge_components.runtime.settings import ServeSettings, SettingsError
from edge_components.runtime.shortfall import tell_shortfall
from edge_components.runtime.version import ActivationError, Version, candidates, read_version
from edge_components.telemetry.privacy import Policy
from edge_components.telemetry.recorder import Recorder, Subject

if TYPE_CHECKING:
    from edge_components.pipeline.flow import Flow

log = logging.getLogger(__name__)

_ERROR = 17


class Runtime:
    """Holds the active version and drives the change to another."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        profile: HardwareProfile,
        registry: Registry,
        metrics: Metrics,
        recorder: Recorder,
        pipeline: PipelineRunner,
        repository: Repository,
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._registry = registry
        self._metrics = metrics
        self._recorder = recorder
        self._pipeline = pipeline
        self._repository = repository
        self._begun = False
        self._folder = ""
        self._started = time.monotonic()
        self._lock = asyncio.Lock()
        self.stopping = asyncio.Event()
        self.port = 0

    # -- control.Controlled

    async def activate(self, folder: Path, precision: str | None) -> Activated:
        """Switch to a version; the present one serves until the new one is warm.

        Raises:
            ActivationError: The version cannot be used; nothing has changed.
        """
        async with self._lock:
            try:
                version, model, flow = await asyncio.to_thread(self._prepare, folder, precision)
            except ActivationError as exc:
                self._refused(str(exc.reason), exc.detail)
                raise
            except Exception as exc:
                log.exception("activation failed")
                self._refused(Reason.INTERNAL.value, repr(exc))
                raise ActivationError(Reason.INTERNAL, repr(exc)) from exc
            self._switch(version, model, flow)
        return Activated(
            release=model.identity.release,
            package=model.identity.package,
            precision=model.identity.precision,
            provider=model.provider,
        )

    async def deactivate(self) -> None:
        """Answer with no version; requests that run are finished."""
        async with self._lock:
            self._registry.retire()
            self._pipeline.use(None)
            self._folder = ""

    def status(self) -> Status:
        """Say what runs."""
        model = self._registry.main
        identity = None if model is None else model.identity
        return Status(
            pid=os.getpid(),
            ready=self.is_ready(),
            release=identity.release if identity else 0,
            package=identity.package if identity else "",
            version_dir=self._folder,
            precision=identity.precision if identity else "",
            provider=model.provider if model else "",
            requests=self._metrics.requests,
            errors=self._metrics.model_faults,
            uptime_s=round(time.monotonic() - self._started, 3),
            rss_bytes=rss_bytes(),
            model=identity.name if identity else "",
            port=self.port,
        )

    def event(self, event: Event) -> None:
        """Record an event for the supervisor."""
        attributes: dict[str, Value] = dict(event.attributes)
        self._recorder.event(event.body, severity=event.severity, attributes=attributes)

    def shutdown(self) -> None:
        """Begin the graceful end."""
        self.stopping.set()

    # -- the server

    def is_ready(self) -> bool:
        """Whether what is to answer does, and the server is not stopping.

        That is the deployed model; where none was asked for, the folder's models, or a pipeline
        that asks others.
        """
        if self.stopping.is_set():
            return False
        return self._registry.main is not None or (self._begun and self._only_folder)

    @property
    def _only_folder(self) -> bool:
        settings = self._settings
        deployed = settings.version_dir is not None or settings.model is not None
        beside = settings.models is not None or settings.pipeline_file is not None
        return beside and not deployed

    async def begin(self) -> None:
        """Load what the settings say to begin with.

        Raises:
            ActivationError: It cannot be used.
            SettingsError: The folder has no model of a name.
        """
        settings = self._settings
        if settings.version_dir is not None:
            await self.activate(settings.version_dir, settings.precision)
        elif settings.model is not None:
            model = await asyncio.to_thread(load_file, settings.model, settings.name, self._profile)
            self._registry.activate(model)
            tell_shortfall(model, self._profile, self._recorder)
        if settings.pipeline_file is not None:
            await asyncio.to_thread(self._begin_pipeline, settings.pipeline_file)
        if settings.load:
            await self._repository.begin(settings.load)
        self._begun = True

    def _begin_pipeline(self, path: Path) -> None:
        try:
            pipeline = read_pipeline_file(path)
            flow = self._pipeline.build(self._registry.main, pipeline, path.absolute().parent)
        except PipelineError as exc:
            raise SettingsError(f"--pipeline: {exc}") from exc
        self._pipeline.use(flow)
        self._pipeline.wait_for_change()

    def _prepare(self, folder: Path, precision: str | None) -> tuple[Version, Model, Flow | None]:
        version = read_version(folder)
        if precision is None:
            model = load_checked(
                version,
                self._profile,
                None,
                engines=self._settings.engines,
                state=self._settings.state_dir,
            )
        else:
            variant = candidates(version, self._profile, precision)[0]
            model = load_variant(version, variant, self._profile, engines=self._settings.engines)
        if version.pipeline is None:
            return version, model, None
        try:
            flow = self._pipeline.build(model, version.pipeline, version.package)
        except PipelineError as exc:
            raise ActivationError(Reason.BAD_PACKAGE, f"pipeline: {exc}") from exc
        return version, model, flow

    def _switch(self, version: Version, model: Model, flow: Flow | None) -> None:
        release = version.release
        self._registry.activate(model)
        self._pipeline.use(flow)
        self._folder = str(version.folder)
        self._recorder.about(
            Subject(
                device=self._settings.device,
                application=release.application,
                release=release.number,
                package=release.package,
            ),
            release.settings.telemetry_sample,
            policy=Policy(release.settings.record, release.settings.redact),
            golden=None if version.info.golden is None else version.package / version.info.golden,
        )
        self._metrics.activations["ok"] += 1
        self._recorder.event(
            f"release {release.number} answers",
            attributes={"precision": model.identity.precision, "provider": model.provider},
        )
        tell_shortfall(model, self._profile, self._recorder)

    def _refused(self, reason: str, detail: str) -> None:
        log.warning("activation refused: %s: %s", reason, detail)
        self._metrics.activations["refused"] += 1
        self._recorder.event(
            f"a release was refused: {detail}", severity=_ERROR, attributes={"reason": reason}
        )
