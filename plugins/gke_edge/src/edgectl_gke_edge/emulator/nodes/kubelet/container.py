"""One container of a pod: pulled, started, probed, started again, ended.

What is on the disk is believed before anything else: after a restart of the node a container that
runs is taken as it is, and one that ended counts as ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.environment import ConfigError, Environment
from edgectl_gke_edge.emulator.nodes.kubelet.images import Image, Logins, PullError
from edgectl_gke_edge.emulator.nodes.kubelet.logs import tail_of
from edgectl_gke_edge.emulator.nodes.kubelet.probes import Prober, Streak, timing_of
from edgectl_gke_edge.emulator.nodes.kubelet.rootfs import Mount
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import Exit, Process, last_attempt
from edgectl_gke_edge.emulator.nodes.kubelet.starting import (
    TERMINATION_FILE,
    root_of,
    spec_of,
)
from edgectl_gke_edge.emulator.nodes.kubelet.status import Ended, Facts

_LOG = logging.getLogger(__name__)
_CONFIG_AGAIN_S = 2.0
_MESSAGE_BYTES = 4096

Tell = Callable[[str, str, bool], None]
Pull = Callable[[str, str, Logins], Awaitable[tuple[Image, bool]]]


class Surroundings(msgspec.Struct, kw_only=True, frozen=True):
    """What a container needs of its pod and node.

    Attributes:
        pod: The pod, with its addresses in its status.
        folder: The pod's folder.
        changed: Called when a container's facts have changed.
        tell: Writes an event: reason, message, whether it warns.
    """

    pod: Obj
    folder: Path
    address: str
    environment: Environment
    mounts: Callable[[Obj], list[Mount]]
    pull: Pull
    logins: Logins
    backoff: BackOff
    changed: Callable[[], None]
    tell: Tell


class Container:
    """One container, through all its starts.

    Args:
        around: Its pod and node.
        container: Its part of the pod's specification.
        is_init: Whether it stands among the init containers.
    """

    def __init__(self, around: Surroundings, container: Obj, *, is_init: bool) -> None:
        self._around = around
        self._spec = container
        self._folder = around.folder / "containers" / container["name"]
        self._process: Process | None = None
        self._failures = 0
        self._stopping = False
        is_sidecar = is_init and container.get("restartPolicy") == "Always"
        self.facts = Facts(
            name=container["name"],
            image=container["image"],
            waiting="PodInitializing",
            is_init=is_init,
            is_sidecar=is_sidecar,
        )
        self.up = asyncio.Event()
        self._take_over()

    @property
    def name(self) -> str:
        """The container's name."""
        return self.facts.name

    async def run(self) -> None:
        """Bring it up and keep it so until its restart policy lets it end."""
        while True:
            if self._process is None or not self._process.is_running():
                if self.facts.ended is not None and not self._starts_again():
                    return
                await self._wait_for_turn()
                await self._start()
            await self._live()

    async def stop(self, grace_s: float) -> None:
        """End it: the hook before the end, SIGTERM, and after the grace SIGKILL."""
        self._stopping = True
        process = self._process
        if process is None or not process.is_running():
            return
        self._around.tell("Killing", f"Stopping container {self.name}", False)
        until = time.monotonic() + grace_s
        ended = asyncio.ensure_future(process.wait())
        try:
            await self._hook("preStop", max(until - time.monotonic(), 0.1))
            process.send(signal.SIGTERM)
            await asyncio.wait([ended], timeout=max(until - time.monotonic(), 0.1))
            process.send(signal.SIGKILL)
            self._ended(await ended)
        finally:
            ended.cancel()

    # -- starting

    def _take_over(self) -> None:
        """Take what an earlier process of this node left."""
        number = last_attempt(self._folder)
        if number < 0:
            return
        self._process = process = Process(self._folder / str(number))
        self.facts.restarts = number
        self.facts.container_id = self._id(number)
        if process.is_running():
            self._running(process)
        elif (found := process.exit) is not None or process.state is not None:
            self._ended(found or Exit(code=137, signal=9, at=time.time()))
        else:
            self._process = None

    def _starts_again(self) -> bool:
        if self._stopping:
            return False
        ended = self.facts.ended
        if self.facts.is_sidecar:
            return True
        policy = self._around.pod["spec"].get("restartPolicy") or "Always"
        failed = ended is not None and ended.code != 0
        if self.facts.is_init:
            return failed and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and failed)

    async def _wait_for_turn(self) -> None:
        wait = self._around.backoff.wait_s(self._failures)
        if self.facts.ended is None or wait <= 0:
            return
        name = self._around.pod["metadata"]
        text = f"back-off {wait:g}s restarting failed container={self.name} pod={name['name']}"
        self._wait("CrashLoopBackOff", f"{text}_{name['namespace']}({name['uid']})")
        self._around.tell("BackOff", f"Back-off restarting failed container {self.name}", True)
        await asyncio.sleep(wait)

    async def _start(self) -> None:
        image = await self._image()
        while True:
            try:
                env = self._around.environment.of(self._spec, image.config.get("Env") or [])
                number = last_attempt(self._folder) + 1
                folder = self._folder / str(number)
                log = self._around.folder / "logs" / self.name / f"{number}.log"
                spec = spec_of(self._around.pod, self._spec, image, env, log)
                break
            except ConfigError as exc:
                self._wait("CreateContainerConfigError", str(exc))
                self._around.tell("Failed", f"Error: {exc}", True)
                await asyncio.sleep(_CONFIG_AGAIN_S)
        folder.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        (folder / TERMINATION_FILE).touch()
        (folder / TERMINATION_FILE).chmod(0o666)
        self._around.tell("Created", f"Created container: {self.name}", False)
        self._process = process = Process(folder)
        root = root_of(self._spec, image, self._around.mounts(self._spec), folder)
        if self.facts.ended is not None:
            self.facts.last, self.facts.ended = self.facts.ended, None
        self.facts.restarts = number
        self.facts.container_id = self._id(number)
        await process.start(spec, root)
        if process.state is not None:
            self._around.tell("Started", f"Started container {self.name}", False)
            self._running(process)
            await self._hook("postStart", 30.0)

    async def _image(self) -> Image:
        failures = 0
        text = self._spec["image"]
        policy = self._spec.get("imagePullPolicy") or _default_policy(text)
        while True:
            if self.facts.waiting in ("", "PodInitializing", "CrashLoopBackOff"):
                self._wait("ContainerCreating", "")
            try:
                image, pulled = await self._around.pull(text, policy, self._around.logins)
            except PullError as exc:
                failures += 1
                self._around.tell("Failed", f'Failed to pull image "{text}": {exc}', True)
                self._wait("ErrImagePull", str(exc))
                # Both are seen by whoever looks: the error itself, then that it is waited.
                wait = self._around.backoff.pull_wait_s(failures)
                await asyncio.sleep(min(wait / 2, 1.0))
                self._around.tell("BackOff", f'Back-off pulling image "{text}"', False)
                self._wait("ImagePullBackOff", f'Back-off pulling image "{text}": {exc}')
                await asyncio.sleep(wait)
                continue
            if pulled:
                self._around.tell("Pulled", f'Successfully pulled image "{text}"', False)
            self.facts.image_id = f"{text.partition('@')[0]}@{image.digest}"
            return image

    # -- living

    async def _live(self) -> None:
        """Probe a container that runs until it ends."""
        process = self._process
        if process is None:
            return
        probing = asyncio.ensure_future(self._probe(process))
        try:
            found = await process.wait()
        finally:
            probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probing
        self._ended(found)

    async def _probe(self, process: Process) -> None:
        ports = {
            one["name"]: one["containerPort"]
            for one in self._spec.get("ports") or ()
            if one.get("name")
        }
        prober = Prober(ports, self._around.address, process.execute)
        startup = None if self.facts.started else self._spec.get("startupProbe")
        if startup and not await self._start_up(prober, startup, process):
            return
        self._set(started=True)
        readiness, liveness = self._spec.get("readinessProbe"), self._spec.get("livenessProbe")
        if readiness is None:
            self._set(ready=True)
        tasks = []
        if readiness is not None:
            tasks.append(self._watch_ready(prober, readiness))
        if liveness is not None:
            tasks.append(self._watch_live(prober, liveness, process))
        if tasks:
            await asyncio.gather(*tasks)

    async def _start_up(self, prober: Prober, probe: Obj, process: Process) -> bool:
        verdict = await self._until_verdict(prober, probe, "Startup", good=True)
        if not verdict:
            await self._kill(process, "Startup", "failed startup probe")
        return verdict

    async def _watch_live(self, prober: Prober, probe: Obj, process: Process) -> None:
        await self._until_verdict(prober, probe, "Liveness", good=False)
        await self._kill(process, "Liveness", "failed liveness probe")

    async def _until_verdict(self, prober: Prober, probe: Obj, kind: str, *, good: bool) -> bool:
        """Probe until it failed for good, or, with ``good``, passed."""
        timing, streak = timing_of(probe), Streak()
        await asyncio.sleep(timing.initial_delay_seconds)
        while True:
            ok, why = await prober.ask(probe)
            streak = streak.then(ok=ok)
            if not ok:
                self._unhealthy(kind, why)
            verdict = streak.verdict(timing)
            if verdict is False or (verdict and good):
                return verdict
            await asyncio.sleep(timing.period_seconds)

    async def _watch_ready(self, prober: Prober, probe: Obj) -> None:
        timing, streak = timing_of(probe), Streak()
        await asyncio.sleep(timing.initial_delay_seconds)
        while True:
            ok, why = await prober.ask(probe)
            streak = streak.then(ok=ok)
            if not ok:
                self._unhealthy("Readiness", why)
            verdict = streak.verdict(timing)
            if verdict is not None:
                self._set(ready=verdict)
            await asyncio.sleep(timing.period_seconds)

    async def _kill(self, process: Process, kind: str, why: str) -> None:
        self._around.tell("Killing", f"Container {self.name} {why}, will be restarted", False)
        _LOG.info("%s: %s probe failed", self.name, kind)
        probe = self._spec.get(f"{kind.lower()}Probe") or {}
        pod_grace = self._around.pod["spec"].get("terminationGracePeriodSeconds", 30)
        grace = probe.get("terminationGracePeriodSeconds") or pod_grace
        process.send(signal.SIGTERM)
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=grace)
        process.send(signal.SIGKILL)

    async def _hook(self, name: str, timeout_s: float) -> None:
        hook = (self._spec.get("lifecycle") or {}).get(name)
        process = self._process
        if not hook or process is None:
            return
        try:
            if "sleep" in hook:
                await asyncio.sleep(min(hook["sleep"].get("seconds", 0), timeout_s))
            elif "exec" in hook:
                await process.execute(hook["exec"].get("command") or [], timeout_s)
            elif "httpGet" in hook:
                ports = {one.get("name"): one["containerPort"] for one in self._spec["ports"]}
                prober = Prober(ports, self._around.address, process.execute)
                await prober.ask({**hook, "timeoutSeconds": max(int(timeout_s), 1)})
        except TimeoutError:
            self._around.tell(f"Failed{name[0].upper()}{name[1:]}Hook", "it took too long", True)

    # -- facts

    def _unhealthy(self, kind: str, why: str) -> None:
        self._around.tell("Unhealthy", f"{kind} probe failed: {why}", True)

    def _running(self, process: Process) -> None:
        state = process.state
        has_startup = bool(self._spec.get("startupProbe"))
        self.facts.waiting = self.facts.message = ""
        self.facts.running_since = state.at if state else time.time()
        self.facts.ended = None
        self.facts.started, self.facts.ready = not has_startup, False
        if not has_startup:
            self.up.set()
        if not has_startup and not self._spec.get("readinessProbe"):
            self.facts.ready = True
        self._around.changed()

    def _wait(self, reason: str, message: str) -> None:
        facts = self.facts
        if (facts.waiting, facts.message) == (reason, message):
            return
        facts.waiting, facts.message = reason, message
        if facts.ended is not None:
            facts.last = facts.ended
        facts.running_since = None
        self._around.changed()

    def _set(self, *, started: bool | None = None, ready: bool | None = None) -> None:
        before = (self.facts.started, self.facts.ready)
        self.facts.started = self.facts.started if started is None else started
        self.facts.ready = self.facts.ready if ready is None else ready
        if self.facts.started:
            self.up.set()
        if before != (self.facts.started, self.facts.ready):
            self._around.changed()

    def _ended(self, found: Exit) -> None:
        facts, process = self.facts, self._process
        if process is None or (facts.ended is not None and not facts.waiting):
            return
        at = found.at or time.time()
        ran_s = at - (found.started or at)
        if ran_s > self._around.backoff.forgive_s:
            self._failures = 0
        self._failures = 0 if found.code == 0 and facts.is_init else self._failures + 1
        reason = "Completed" if found.code == 0 else "Error"
        reason = "OOMKilled" if found.oom else "StartError" if found.error else reason
        facts.ended = Ended(
            code=found.code,
            reason=reason,
            message=found.error or self._message(process, found.code),
            signal=found.signal,
            started=found.started,
            at=at,
            container_id=facts.container_id,
        )
        facts.running_since, facts.waiting, facts.message = None, "", ""
        facts.started = facts.ready = False
        self._around.changed()

    def _message(self, process: Process, code: int) -> str:
        try:
            left = (process.folder / TERMINATION_FILE).read_bytes()[:_MESSAGE_BYTES]
        except OSError:
            left = b""
        fallback = self._spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not left and fallback and code != 0:
            return tail_of(self._around.folder / "logs" / self.name / f"{process.folder.name}.log")
        return left.decode(errors="replace")

    def _id(self, number: int) -> str:
        return f"edgectl://{self._around.pod['metadata']['uid']}-{self.name}-{number}"


def _default_policy(image: str) -> str:
    name = image.rpartition("/")[2]
    pinned = "@" in image or (":" in name and not name.endswith(":latest"))
    return "IfNotPresent" if pinned else "Always"
