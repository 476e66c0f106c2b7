"""The device's edgeAgent: reads what is wanted, does it, and reports; again every few seconds.

One round is the real agent's (Agent.ReconcileAsync): the deployment, the modules as they are, a
plan, its steps, a report. A deployment that arrives, and a module that ends, begin a round at once,
where the real agent's look every five seconds would find them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge import methods, report
from edgectl_azure_iot_edge.emulator.edge.attempts import Attempts, told
from edgectl_azure_iot_edge.emulator.edge.carrying import Carrier, StepError, pretended_hash
from edgectl_azure_iot_edge.emulator.edge.ground import Ground
from edgectl_azure_iot_edge.emulator.edge.identities import AGENT_ID, UnreachableError
from edgectl_azure_iot_edge.emulator.edge.manifest import ConfigError, parse_deployment
from edgectl_azure_iot_edge.emulator.edge.planner import plan, shutdown
from edgectl_azure_iot_edge.emulator.edge.records import (
    EDGE_AGENT,
    EDGE_HUB,
    Deployment,
    Module,
    ModuleSpec,
    RuntimeStatus,
)
from edgectl_azure_iot_edge.emulator.edge.report import AgentState, DeploymentStatus, Document
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace, paced
from edgectl_azure_iot_edge.emulator.edge.uplink import HubLink

log = logging.getLogger(__name__)

CYCLE_S = 5.0
_DESIRED = "desired"
_OK = DeploymentStatus(code=200)
_DEFAULT_IMAGE = "azureiotedge-agent:1.5"


class AgentPace(Record, frozen=True, kw_only=True):
    """How often the agent looks, and how patient it is.

    Attributes:
        cycle_s: Between two looks when nothing happens.
        restarts: Pauses before restarts and repeated steps.
    """

    cycle_s: float = CYCLE_S
    restarts: Pace = Pace()


class EdgeAgent:
    """The agent of one device."""

    def __init__(self, ground: Ground, carrier: Carrier, pace: AgentPace) -> None:
        self._ground = ground
        self._carrier = carrier
        self._pace = pace
        self._attempts = Attempts()
        self._desired: Document | None = ground.kept.find(_DESIRED, dict[str, Any])
        self._reported: Document | None = None
        self._deployment: Deployment | None = None
        self._link: HubLink | None = None
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._started_at = ground.faults.clock()

    def run(self) -> None:
        """Work until ``stop``."""
        while not self._stopping.is_set():
            self._connect()
            try:
                self.round()
            except Exception:
                log.exception("a round failed")
            self._wake.wait(self._pace.cycle_s)
            self._wake.clear()
        self._leave()

    def stop(self) -> None:
        """End, from any thread: modules are stopped and 406 is reported."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Begin a round now."""
        self._wake.set()

    def round(self) -> None:
        """Bring the device to what is wanted, and report."""
        desired = self._desired
        if desired is None:
            return
        version = int(desired.get("$version", 0))
        pace = self._pace.restarts
        try:
            self._deployment = deployment = parse_deployment(desired)
            pace = self._paced(deployment)
            status = self._reconcile(deployment, pace)
        except ConfigError as exc:
            log.warning("the deployment is refused: %s", exc.detail)
            status = DeploymentStatus(code=exc.code, description=str(exc))
        self._report(version, status, pace)

    def _reconcile(self, deployment: Deployment, pace: Pace) -> DeploymentStatus:
        users = {name for name in deployment.modules if name != EDGE_HUB}
        gone = set(self._carrier.modules(pace)) - {*users, EDGE_HUB}
        try:
            self._ground.identities.ensure(users, gone)
        except UnreachableError as exc:
            log.info("identities are as they were: %s", exc)
        now = self._ground.faults.clock
        pull_first = self._env(deployment).get("ModuleUpdateMode") == "WaitForAllPulls"
        steps = plan(
            deployment.modules, self._carrier.modules(pace), now(), pace, pull_first=pull_first
        )
        self._attempts.begin(deployment.version)
        failures = []
        for step in steps:
            refusal = self._attempts.refusal(step, now(), pace)
            if refusal:
                failures.append(refusal)
            else:
                try:
                    self._carrier.carry_out(step, deployment.credentials)
                    self._attempts.done(step)
                    continue
                except StepError as exc:
                    log.warning("%s failed: %s", step.show, exc)
                    self._attempts.failed(step, now(), str(exc))
                    failures.append(str(exc))
            if step.first or refusal.startswith("Step previously failed"):
                break
            if self._stopping.is_set():
                break
        return DeploymentStatus(code=500, description=told(failures)) if failures else _OK

    def _env(self, deployment: Deployment | None) -> Mapping[str, str]:
        own = self._ground.settings.agent_env
        return own if deployment is None else {**own, **deployment.agent.env}

    def _paced(self, deployment: Deployment) -> Pace:
        return paced(self._pace.restarts, self._env(deployment))

    def _report(self, version: int, status: DeploymentStatus, pace: Pace) -> None:
        state = AgentState(
            version=version,
            status=status,
            deployment=self._deployment,
            agent=self._own_module(),
            modules=self._carrier.modules(pace),
        )
        self._send(report.document(state))

    def _send(self, new: Document) -> None:
        link = self._link
        with self._lock:
            if link is None or not link.is_up or self._reported is None:
                return
            patch = report.patch(self._reported, new)
            if not patch:
                return
            try:
                link.report(patch)
                self._reported = new
            except UnreachableError as exc:
                log.info("the report waits: %s", exc)

    def _own_module(self) -> Module:
        image = self._ground.settings.agent_image or _DEFAULT_IMAGE
        spec = ModuleSpec(name=EDGE_AGENT, image=image)
        if self._deployment is not None:
            spec = self._deployment.agent
        return Module(
            spec=spec,
            status=RuntimeStatus.RUNNING,
            description="running",
            image_hash=pretended_hash(spec.image),
            started_at=self._started_at,
        )

    def _connect(self) -> None:
        if self._link is not None:
            return
        identities = self._ground.identities
        identity = identities.get(AGENT_ID)
        if identity is None or not identity.key:
            try:
                identities.ensure(())
            except UnreachableError as exc:
                log.info("the device's modules are not known yet: %s", exc)
                return
            identity = identities.get(AGENT_ID)
        if identity is None:
            return
        self._link = HubLink(
            self._ground.settings,
            identity,
            self._ground.faults,
            connected=self._refresh,
            desired=lambda patch, version: self._refresh(),
            method=self._method,
        )
        self._link.start()

    def _refresh(self) -> None:
        link = self._link
        if link is None:
            return
        try:
            found = link.twin()
        except UnreachableError as exc:
            log.info("the twin is not given: %s", exc)
            return
        with self._lock:
            self._reported = {
                key: value for key, value in found["reported"].items() if not key.startswith("$")
            }
            if found["desired"] != self._desired:
                self._desired = found["desired"]
                self._ground.kept.write(_DESIRED, self._desired)
        self.wake()

    def _method(self, name: str, payload: bytes) -> tuple[int, bytes]:
        return methods.answer(name, payload, self._restart, self._carrier.logs)

    def _restart(self, name: str) -> None:
        if name == EDGE_AGENT:
            # Started anew it has forgotten which steps it had given up.
            self._attempts = Attempts()
            self.wake()
            return
        module = self._carrier.modules(self._pace.restarts).get(name)
        if module is None:
            raise methods.MethodError(500, f"Module {name} not found in the current environment")
        if module.status is not RuntimeStatus.RUNNING:
            raise methods.MethodError(
                500, f"Module {name} cannot be restarted since it is not running"
            )
        try:
            self._carrier.restart(name)
        except StepError as exc:
            raise methods.MethodError(500, str(exc)) from exc
        self.wake()

    def _leave(self) -> None:
        """Stop the modules, say that nobody is there any more, and go."""
        for step in shutdown(self._carrier.modules(self._pace.restarts)):
            try:
                self._carrier.carry_out(step, ())
            except StepError as exc:
                log.warning("%s failed: %s", step.show, exc)
        if self._reported is not None:
            self._send(report.at_shutdown(self._reported))
        if self._link is not None:
            self._link.stop()
