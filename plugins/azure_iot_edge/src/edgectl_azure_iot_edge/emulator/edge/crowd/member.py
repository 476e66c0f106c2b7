"""A pretended device: reads what is wanted, and reports that it is so, as agent and as module.

Nothing is pulled and nothing runs. What the hub sees is what a real device of edgectl's shows:
``$edgeAgent``'s document, and the report of each module that is given a release.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any

import msgspec

from edgectl.api import DesiredRelease, ModuleReport, State
from edgectl_azure_iot_edge.emulator.edge import report
from edgectl_azure_iot_edge.emulator.edge.crowd.client import LightLink, Place
from edgectl_azure_iot_edge.emulator.edge.manifest import ConfigError, parse_deployment
from edgectl_azure_iot_edge.emulator.edge.records import (
    EDGE_AGENT,
    Deployment,
    Module,
    ModuleSpec,
    RuntimeStatus,
)
from edgectl_azure_iot_edge.emulator.edge.report import AgentState, DeploymentStatus
from edgectl_azure_iot_edge.names import DESIRED

log = logging.getLogger(__name__)

_RETRY_S = 5.0
_HASH = "sha256:" + "0" * 64
REASON = "golden-mismatch"


class Turns:
    """Who may connect and report when, so that a crowd leaves a hub's rates to others too.

    Args:
        at_once: So many connect at once.
        writes_per_s: So many reports a second, of all together. A hub of the smallest tier takes
            50 twin writes a second from devices and services together.
    """

    def __init__(self, at_once: int, writes_per_s: float) -> None:
        self.gate = asyncio.Semaphore(at_once)
        self._every_s = 1.0 / writes_per_s
        self._next = 0.0

    async def write(self) -> None:
        """Wait for one's turn to report."""
        now = asyncio.get_running_loop().time()
        self._next = turn = max(self._next + self._every_s, now)
        await asyncio.sleep(turn - now)


class Member:
    """One device.

    Args:
        fails: Whether it fails every release.
    """

    def __init__(self, place: Place, name: str, key: str, turns: Turns, *, fails: bool) -> None:
        self._place = place
        self._name = name
        self._key = key
        self._turns = turns
        self._fails = fails
        self._wake = asyncio.Event()
        self._agent = self._link("$edgeAgent")
        self._modules: dict[str, LightLink] = {}
        self._reported: dict[str, Any] = {}
        self._served: dict[str, int] = {}
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Live until cancelled."""
        while True:
            try:
                await self._live()
            except OSError as exc:
                log.info("'%s' begins again: %s", self._name, exc)
            await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.0))  # noqa: S311  # spreads them

    async def close(self) -> None:
        """Leave the hub."""
        for link in (self._agent, *self._modules.values()):
            await link.close()

    def _link(self, module: str) -> LightLink:
        return LightLink(self._place, f"{self._name}/{module}", self._key, self._woken)

    def _woken(self) -> None:
        self._wake.set()

    async def _open(self, link: LightLink) -> None:
        if not link.is_up:
            async with self._turns.gate:
                await link.open(time.time())

    async def _live(self) -> None:
        await self._open(self._agent)
        self.connected.set()
        twin = await self._agent.twin()
        self._reported = _plain(twin["reported"])
        self._wake.set()
        while self._agent.is_up:
            await self._wake.wait()
            self._wake.clear()
            await self._round()

    async def _round(self) -> None:
        desired = (await self._agent.twin())["desired"]
        deployment: Deployment | None = None
        status = DeploymentStatus(code=200)
        try:
            deployment = parse_deployment(desired)
        except ConfigError as exc:
            status = DeploymentStatus(code=exc.code, description=str(exc))
        specs = deployment.modules if deployment is not None else {}
        state = AgentState(
            version=int(desired.get("$version", 0)),
            status=status,
            deployment=deployment,
            agent=_running(deployment.agent if deployment else _agent_spec()),
            modules={name: _running(spec) for name, spec in specs.items()},
        )
        new = report.document(state)
        patch = report.patch(self._reported, new)
        if patch:
            await self._turns.write()
            await self._agent.report(patch)
            self._reported = new
        await self._tell_modules({name for name in specs if name.startswith("edgectl-")})

    async def _tell_modules(self, names: set[str]) -> None:
        for name in [name for name in self._modules if name not in names]:
            await self._modules.pop(name).close()
        for name in sorted(names):
            link = self._modules.setdefault(name, self._link(name))
            await self._open(link)
            twin = await link.twin()
            wanted = _wanted(twin["desired"].get(DESIRED))
            if wanted is None:
                continue
            before = self._served.get(name, 0)
            if not self._fails:
                self._served[name] = wanted.release
            found = ModuleReport(
                desired=wanted.release,
                current=self._served.get(name, 0),
                previous=before if before != wanted.release else 0,
                phase=State.FAILED if self._fails else State.HEALTHY,
                reason=REASON if self._fails else "",
                package=wanted.package,
                active="" if self._fails else wanted.package,
                application=name.removeprefix("edgectl-"),
                agent="edgectl crowd",
                at=int(time.time()),
            ).to_twin()
            if _but_time(twin["reported"].get(DESIRED)) != _but_time(found):
                await self._turns.write()
                await link.report({DESIRED: found})


def _wanted(section: Any) -> DesiredRelease | None:
    try:
        return msgspec.convert(section, DesiredRelease)
    except msgspec.ValidationError:
        return None


def _running(spec: ModuleSpec) -> Module:
    return Module(spec=spec, status=RuntimeStatus.RUNNING, description="running", image_hash=_HASH)


def _agent_spec() -> ModuleSpec:
    return ModuleSpec(name=EDGE_AGENT, image="edgeAgent")


def _plain(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if not key.startswith("$")}


def _but_time(section: Any) -> dict[str, Any]:
    return {k: v for k, v in section.items() if k != "at"} if isinstance(section, dict) else {}
