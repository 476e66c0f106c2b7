"""One pod on a node: its volumes, its containers in their order, its status and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.container import Container, Surroundings
from edgectl_gke_edge.emulator.nodes.kubelet.environment import Environment
from edgectl_gke_edge.emulator.nodes.kubelet.images import Image, Logins, PullError
from edgectl_gke_edge.emulator.nodes.kubelet.status import Facts, Whole, pod_status
from edgectl_gke_edge.emulator.nodes.kubelet.volumes import VolumeError, Volumes
from edgectl_gke_edge.emulator.nodes.podfacts import age_s, is_ready, is_true, timestamp

_LOG = logging.getLogger(__name__)
_MOUNT_AGAIN_S = 1.0
_IP_FILE, _START_FILE = "ip", "start"


class Host(Protocol):
    """What a pod needs of its node."""

    folder: Path
    disk: Path
    backoff: BackOff
    ip: str

    async def pull(self, text: str, policy: str, logins: Logins) -> tuple[Image, bool]:
        """Return an image, and whether the registry was asked for it."""

    async def read(self, kind: str, namespace: str, name: str) -> Obj | None:
        """Read a ConfigMap or Secret; None if there is none."""

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a ConfigMap's data as ``load`` read it."""

    def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a Secret's data as ``load`` read it."""

    def address(self, uid: str, wanted: str) -> str:
        """Return the pod's address."""

    def event(self, pod: Obj, reason: str, message: str, *, warn: bool) -> None:
        """Write an event about the pod."""

    async def token(self, pod: Obj, wanted: Obj) -> str:
        """Return a service account token."""

    async def logins(self, pod: Obj) -> Logins:
        """Return what the pod's pull secrets say."""

    async def load(self, pod: Obj) -> None:
        """Read every ConfigMap and Secret that the pod's environment names."""


Publish = Callable[[Obj, Obj], Awaitable[None]]


class Worker:
    """Runs one pod.

    Args:
        host: Its node.
        pod: The pod as it was seen first.
        publish: Writes a status for the pod.
    """

    def __init__(self, host: Host, pod: Obj, publish: Publish) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.folder = host.folder / "pods" / self.uid
        self._host = host
        self._publish = publish
        self._containers: list[Container] = []
        self._failure = ("", "")
        self._ip = ""
        self._told_ready: bool | None = None
        self._dirty = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self.over = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self._running = asyncio.create_task(self._run())
        self._publishing = asyncio.create_task(self._keep_published())

    def update(self, pod: Obj) -> None:
        """Take a newer version of the pod; a status that others changed is set right."""
        self.pod = pod
        if self._told_ready is not None and is_ready(pod) != self._told_ready:
            self.changed()

    def end(self, grace_s: float, gone: Callable[[], Awaitable[None]]) -> None:
        """End all containers, then call ``gone``; a second call changes nothing."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(grace_s, gone))

    def fail(self, reason: str, message: str) -> None:
        """Have the pod fail for a reason of the node's: evicted, out of resources."""
        self._failure = (reason, message)
        self.changed()

    async def detach(self) -> None:
        """Let go of the pod; its containers run on."""
        for task in (self._running, self._publishing, self._ending):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def remove(self) -> None:
        """Forget everything of the pod."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def changed(self) -> None:
        """Have the status published."""
        self._dirty.set()

    @property
    def is_failed(self) -> bool:
        """Whether the node failed the pod."""
        return bool(self._failure[0])

    # -- running

    async def _run(self) -> None:
        try:
            await self._bring_up()
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 - one pod's fault must not end the node
            _LOG.exception("pod '%s' is given up", self.pod["metadata"]["name"])
            self.fail("UnexpectedAdmissionError", "the virtual node failed; see its log")

    async def _bring_up(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ip = self._host.address(self.uid, _text(self.folder / _IP_FILE))
        (self.folder / _IP_FILE).write_text(self._ip)
        if not _text(self.folder / _START_FILE):
            (self.folder / _START_FILE).write_text(timestamp())
        seen = {**self.pod, "status": {**(self.pod.get("status") or {}), **self._addresses()}}
        logins = await self._host.logins(seen)
        await self._host.load(seen)
        volumes = self._volumes(seen, logins)
        around = self._surroundings(seen, volumes, logins)
        spec = seen["spec"]
        inits = [Container(around, one, is_init=True) for one in spec.get("initContainers") or ()]
        mains = [Container(around, one, is_init=False) for one in spec["containers"]]
        self._containers = [*inits, *mains]
        self.changed()
        await self._mount(volumes, mains)
        deadline = spec.get("activeDeadlineSeconds")
        left = None if deadline is None else deadline - age_s(_text(self.folder / _START_FILE))
        try:
            await asyncio.wait_for(self._live(inits, mains), left)
        except TimeoutError:
            self.fail("DeadlineExceeded", "Pod was active on the node longer than the deadline")
            await asyncio.gather(*(one.stop(self._grace()) for one in self._containers))

    async def _live(self, inits: list[Container], mains: list[Container]) -> None:
        async with asyncio.TaskGroup() as group:
            sidecars = []
            for one in inits:
                if one.facts.is_sidecar:
                    sidecars.append(group.create_task(one.run()))
                    await one.up.wait()
                    continue
                if one.facts.ended is None or one.facts.ended.code != 0:
                    await one.run()
                if one.facts.ended is None or one.facts.ended.code != 0:
                    self.over.set()
                    return
            await asyncio.gather(*(one.run() for one in mains))
            for task in sidecars:
                task.cancel()
        for one in inits:
            if one.facts.is_sidecar:
                await one.stop(self._grace())
        self.over.set()

    async def _mount(self, volumes: Volumes, mains: list[Container]) -> None:
        failures = 0
        for one in self._containers:
            if one.facts.waiting == "PodInitializing" and not self._has_inits():
                one.facts.waiting = "ContainerCreating"
        while True:
            try:
                await volumes.make()
            except (VolumeError, PullError) as exc:
                failures += 1
                is_pull = isinstance(exc, PullError)
                self._host.event(
                    self.pod, "Failed" if is_pull else "FailedMount", str(exc), warn=True
                )
                if is_pull:
                    self._wait_all("ErrImagePull" if failures % 2 else "ImagePullBackOff", str(exc))
                wait = self._host.backoff.pull_wait_s(failures) if is_pull else _MOUNT_AGAIN_S
                await asyncio.sleep(wait)
            else:
                return

    def _wait_all(self, reason: str, message: str) -> None:
        for one in self._containers:
            if one.facts.running_since is None and one.facts.ended is None:
                one.facts.waiting, one.facts.message = reason, message
        self.changed()

    def _has_inits(self) -> bool:
        return any(one.facts.is_init for one in self._containers)

    # -- ending

    async def _end(self, grace_s: float, gone: Callable[[], Awaitable[None]]) -> None:
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        mains = [one for one in self._containers if not one.facts.is_sidecar]
        sidecars = [one for one in self._containers if one.facts.is_sidecar]
        until = time.monotonic() + grace_s
        for group in (mains, sidecars):
            left = max(until - time.monotonic(), 0.1)
            await asyncio.gather(*(one.stop(left) for one in group))
        await self._publish_now()
        if self._publishing is not None:
            self._publishing.cancel()
        await gone()

    def _grace(self) -> float:
        return float(self.pod["spec"].get("terminationGracePeriodSeconds") or 30)

    # -- status

    async def _keep_published(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._publish_now()
            await asyncio.sleep(0.05)

    async def _publish_now(self) -> None:
        status = pod_status(self.pod, self._facts(), self._whole())
        self._told_ready = is_true({"status": status}, "Ready")
        await self._publish(self.pod, status)

    def _facts(self) -> list[Facts]:
        if self._containers:
            return [one.facts for one in self._containers]
        spec = self.pod["spec"]
        inits = [(one, True) for one in spec.get("initContainers") or ()]
        everything = [*inits, *((one, False) for one in spec["containers"])]
        return [
            Facts(
                name=one["name"],
                image=one["image"],
                waiting="PodInitializing" if inits and not is_init else "ContainerCreating",
                is_init=is_init,
            )
            for one, is_init in everything
        ]

    def _whole(self) -> Whole:
        return Whole(
            host_ip=self._host.ip,
            pod_ip=self._ip,
            start_time=_text(self.folder / _START_FILE) or timestamp(),
            failure=self._failure[0],
            failure_message=self._failure[1],
        )

    # -- parts

    def _addresses(self) -> Obj:
        return {"podIP": self._ip, "hostIP": self._host.ip}

    def _volumes(self, pod: Obj, logins: Logins) -> Volumes:
        async def image(volume: Obj) -> str:
            policy = volume.get("pullPolicy") or "IfNotPresent"
            found, _ = await self._host.pull(volume["reference"], policy, logins)
            return found.folder

        return Volumes(
            pod,
            self.folder / "volumes",
            self._host.disk,
            read=self._host.read,
            token=lambda wanted: self._host.token(pod, wanted),
            image=image,
        )

    def _surroundings(self, pod: Obj, volumes: Volumes, logins: Logins) -> Surroundings:
        return Surroundings(
            pod=pod,
            folder=self.folder,
            address=self._ip,
            environment=Environment(pod, self._host.config_map, self._host.secret),
            mounts=volumes.mounts,
            pull=self._host.pull,
            logins=logins,
            backoff=self._host.backoff,
            changed=self.changed,
            tell=lambda reason, text, warn: self._host.event(self.pod, reason, text, warn=warn),
        )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
