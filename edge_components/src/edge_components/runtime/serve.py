"""The serving process from start to end: parts put together, signals, orphan watch, drain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from edge_components.contract.hardware import HardwareProfile
from edge_components.drift.watch import DriftWatch
from edge_components.pipeline.runner import PipelineRunner
from edge_components.runtime import footprint
from edge_components.runtime.access import guarded, is_exposed, read_token, tls_context
from edge_components.runtime.control import MAX_BODY_BYTES, ControlRoutes, Status
from edge_components.runtime.http import Limits
from edge_components.runtime.inference import Inference
from edge_components.runtime.lineup import THREAD_NAME
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.page import Counts, HealthProbe, Numbers
from edge_components.runtime.process import allow_files
from edge_components.runtime.registry import Registry
from edge_components.runtime.repository import Repository
from edge_components.runtime.routes import Routes
from edge_components.runtime.server import HttpServer
from edge_components.runtime.service import Runtime
from edge_components.runtime.settings import ServeSettings, SettingsError
from edge_components.runtime.shortfall import tell_shortfall
from edge_components.runtime.tuning import tuned
from edge_components.runtime.version import find_profile
from edge_components.telemetry.queue import QUEUE_FILE, TelemetryQueue
from edge_components.telemetry.recorder import Recorder, Subject
from edge_components.telemetry.sender import UplinkSettings
from edge_components.telemetry.uplink import Uplink

if TYPE_CHECKING:
    from edge_components.runtime.grpc.service import GrpcServer

log = logging.getLogger(__name__)

_RUN_MODELS = {THREAD_NAME, "pipeline"}
_THREAD_END_S = 0.2

Page = Callable[[Status], bytes]


def serve(settings: ServeSettings, pages: Mapping[str, Page] | None = None) -> int:
    """Serve until told to stop; return the exit code.

    Args:
        settings: How to serve.
        pages: Further JSON documents to answer with, by their path: what each says of the
            runtime's status.

    Raises:
        ActivationError: What was to be served from the start cannot be loaded.
        OSError: The address or the control socket cannot be used.
    """
    profile = tuned(find_profile(settings.hardware), settings.threads, settings.max_batch)
    ort.disable_telemetry_events()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    allow_files(4 * settings.max_connections + 1024)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_ending(_serve(settings, profile, pages or {})))


async def _ending(work: Coroutine[Any, Any, int]) -> int:
    """Return the exit code, or end the process with it where a thread still runs a model.

    ONNX Runtime cannot be interrupted while it loads or runs; Python waits for its threads, or
    crashes when a daemon thread comes back from it. Here everything that is to be kept has been
    written already.
    """
    code = await work
    running = [thread for thread in threading.enumerate() if thread.name in _RUN_MODELS]
    for thread in running:
        thread.join(_THREAD_END_S)  # one that has nothing to do ends at once
    if len(asyncio.all_tasks()) > 1 or any(thread.is_alive() for thread in running):
        log.warning("a model still works, which is not waited for")
        sys.stdout.flush()
        os._exit(code)
    return code


class _Parts:
    """Everything that serves, put together."""

    def __init__(
        self, settings: ServeSettings, profile: HardwareProfile, pages: Mapping[str, Page]
    ) -> None:
        telemetry = settings.telemetry
        metrics, registry = Metrics(), Registry()
        self.queue = TelemetryQueue(
            settings.state_dir / QUEUE_FILE, max_bytes=telemetry.max_bytes, ttl_s=telemetry.ttl_s
        )
        self.recorder = Recorder(
            self.queue,
            Subject(device=settings.device, application=settings.application),
            counts=Counts(metrics),
            health=HealthProbe(settings.state_dir),
            health_interval_s=telemetry.health_interval_s,
            drift=DriftWatch(settings.drift),
        )
        self.uplink = _uplink(settings, self.queue)
        self.pipeline = PipelineRunner(
            self.recorder,
            metrics,
            state_dir=settings.state_dir,
            device=settings.pipeline,
            device_id=settings.device,
            has_stdin=not settings.parent_pipe,
        )
        self.inference = Inference(registry, metrics, self.recorder, threads=settings.parallel)
        self.repository = Repository(
            settings.models,
            registry,
            profile,
            lambda model: tell_shortfall(model, profile, self.recorder),
        )
        self.runtime = Runtime(
            settings,
            profile=profile,
            registry=registry,
            metrics=metrics,
            recorder=self.recorder,
            pipeline=self.pipeline,
            repository=self.repository,
        )
        routes = Routes(
            self.inference,
            self.repository,
            ready=self.runtime.is_ready,
            metrics_page=self._page,
            push=self.pipeline.push,
            pages={path: self._told(page) for path, page in pages.items()},
        )
        self.limits = Limits(
            max_body_bytes=settings.max_body_bytes, max_connections=settings.max_connections
        )
        self.token = read_token(settings.token_file)
        self.tls = tls_context(settings)
        self.server = HttpServer(guarded(routes.resolve, self.token), self.limits)
        self.control = ControlRoutes(self.runtime, time.monotonic)
        self.control_server = HttpServer(
            self.control.resolve, Limits(max_body_bytes=MAX_BODY_BYTES)
        )
        self._numbers = Numbers(
            metrics=metrics,
            registry=registry,
            recorder=self.recorder,
            queue=self.queue,
            uplink=self.uplink,
            server=self.server,
        )

    def start(self) -> None:
        """Start the threads."""
        self.recorder.start()
        if self.uplink is not None:
            self.uplink.start()

    def stop(self) -> None:
        """Stop the threads, what writes before what is written to."""
        self.pipeline.stop()
        self.inference.close()
        self.recorder.stop()
        if self.uplink is not None:
            self.uplink.stop()
        self.queue.close()

    def _page(self) -> bytes:
        return self._numbers.page()

    def _told(self, page: Page) -> Callable[[], bytes]:
        return lambda: page(self.runtime.status())


async def _serve(
    settings: ServeSettings, profile: HardwareProfile, pages: Mapping[str, Page]
) -> int:
    parts = _Parts(settings, profile, pages)
    runtime, server = parts.runtime, parts.server
    parts.start()
    bound = False
    grpc_server: GrpcServer | None = None
    grpc_port: int | None = None
    try:
        # The port first: a second runtime ends here, before it takes the first one's socket path.
        runtime.port = await server.listen(settings.host, settings.port, parts.tls)
        if is_exposed(settings):
            log.warning("'%s' can be reached by others, and no token is asked for", settings.host)
        if settings.grpc_port is not None:
            grpc_server = _grpc_server(parts, settings)
            grpc_port = await grpc_server.listen(settings.host, settings.grpc_port)
        if settings.control_socket is not None:
            await parts.control_server.listen_unix(settings.control_socket)
            bound = True
        _on_signals(runtime.shutdown)
        if settings.parent_pipe:
            _watch_parent(settings, parts.control, runtime.shutdown)
        if await _until(runtime.begin(), runtime.stopping):
            footprint.settle()
            _announce(settings, runtime, grpc_port)
        await runtime.stopping.wait()
        ending = [] if grpc_server is None else [grpc_server.drain(settings.drain_s)]
        drained = await asyncio.gather(server.drain(settings.drain_s), *ending)
        await parts.control_server.drain(1.0)
    finally:
        if grpc_server is not None:
            await grpc_server.drain(0)
        parts.stop()
        if bound and settings.control_socket is not None:
            settings.control_socket.unlink(missing_ok=True)
    return 0 if all(drained) else 4


async def _until(work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> bool:
    """Work until it is done or the server is to stop; return whether it was done."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        await task
    return task.done()


def _grpc_server(parts: _Parts, settings: ServeSettings) -> GrpcServer:
    try:
        # Only a runtime that speaks gRPC pays for it.
        from edge_components.runtime.grpc.service import (  # noqa: PLC0415  # see above
            GrpcServer,
            Service,
        )
    except ModuleNotFoundError as exc:
        raise SettingsError(
            f"--grpc-port needs '{exc.name}', which is not installed: "
            "install edgectl-edge-components[grpc]"
        ) from exc
    service = Service(parts.inference, parts.repository, ready=parts.runtime.is_ready)
    return GrpcServer(service, parts.limits, settings, parts.token)


def _uplink(settings: ServeSettings, queue: TelemetryQueue) -> Uplink | None:
    telemetry = settings.telemetry
    if not telemetry.url:
        return None
    return Uplink(
        queue,
        UplinkSettings(
            url=telemetry.url,
            authorization=telemetry.authorization,
            ca=telemetry.ca,
            certificate=telemetry.certificate,
            key=telemetry.key,
            interval_s=telemetry.interval_s,
        ),
    )


def _announce(settings: ServeSettings, runtime: Runtime, grpc_port: int | None) -> None:
    status = runtime.status()
    line: dict[str, object] = {
        "listening": f"http{'' if settings.tls_cert is None else 's'}://{settings.host}:{runtime.port}",
        "port": runtime.port,
        "pid": status.pid,
        "ready": status.ready,
        "model": status.model,
    }
    if grpc_port is not None:
        line["grpc_port"] = grpc_port
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _watch_parent(
    settings: ServeSettings, control: ControlRoutes, stop: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        log.warning("the supervisor is gone; serving on for %g s", settings.orphan_grace_s)
        orphaned = time.monotonic()
        while time.monotonic() - max(orphaned, control.last_call) < settings.orphan_grace_s:
            time.sleep(min(0.2, settings.orphan_grace_s / 4))
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _loop_factory() -> Callable[[], Any]:
    try:
        import uvloop  # noqa: PLC0415  # not on every platform
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], Any] = uvloop.new_event_loop
    return factory
