"""Carries the steps of a plan out: on the engine, on edgeHub, on the identities and sockets.

edgeHub is a module like others to the agent, and a part of this process in truth: nothing of it is
pulled, and making and starting it is making and starting that part.
"""

from __future__ import annotations

import hashlib
import logging

import msgspec

from edgectl_azure_iot_edge.emulator.edge.containers import (
    Container,
    Engine,
    EngineError,
    Making,
)
from edgectl_azure_iot_edge.emulator.edge.edgehub import EdgeHub
from edgectl_azure_iot_edge.emulator.edge.ground import Ground
from edgectl_azure_iot_edge.emulator.edge.options import OptionsError, parse_options
from edgectl_azure_iot_edge.emulator.edge.planner import Action, Step
from edgectl_azure_iot_edge.emulator.edge.pulls import Pulls, PullsError
from edgectl_azure_iot_edge.emulator.edge.records import (
    EDGE_HUB,
    Credential,
    Module,
    ModuleSpec,
    RuntimeStatus,
    Status,
)
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace, status_under
from edgectl_azure_iot_edge.emulator.edge.wayout import WayOut
from edgectl_azure_iot_edge.emulator.edge.workload import API_VERSION, Workload

log = logging.getLogger(__name__)

_HUB_KEPT = "module-edgehub"
_RESTARTS = "restarts"
_WANTED = "wanted"


class StepError(Exception):
    """A step failed; the message is what the agent reports."""


class _Restarts(msgspec.Struct, frozen=True):
    count: int
    at: float


class Carrier:
    """Does what a plan says.

    Args:
        engine: Runs the modules.
        pulls: Gets their images.
        workload: Has a socket for each.
    """

    def __init__(
        self, ground: Ground, engine: Engine, pulls: Pulls, hub: EdgeHub, workload: Workload
    ) -> None:
        self._ground = ground
        self._way_out = WayOut(
            ground.faults, ground.kept, ground.address[0], (ground.settings.hostname,)
        )
        self._engine = engine
        self._pulls = pulls
        self._hub = hub
        self._workload = workload
        self._hub_module = ground.kept.find(_HUB_KEPT, Container)
        if self._hub_module is not None:  # it ended with the process that it was a part of
            self._keep_hub(msgspec.structs.replace(self._hub_module, state="created", exit_code=0))
        self._restarts = ground.kept.read(_RESTARTS, dict[str, _Restarts], {})
        # A deployment may want another status of a module without its being made anew.
        self._wanted = ground.kept.read(_WANTED, dict[str, Status], {})

    def modules(self, pace: Pace) -> dict[str, Module]:
        """Return every module but ``edgeAgent`` as it is now."""
        containers = self._engine.containers()
        if self._hub_module is not None:
            containers[EDGE_HUB] = self._hub_module
        return {name: self._module(name, found, pace) for name, found in containers.items()}

    def carry_out(self, step: Step, credentials: tuple[Credential, ...]) -> None:
        """Take a step.

        Raises:
            StepError: It failed.
        """
        for action in step.actions:
            log.info("%s module %s", action, step.module)
            try:
                self._act(action, step, credentials)
            except PullsError as exc:
                raise StepError(str(exc)) from exc
            except (EngineError, OptionsError, OSError) as exc:
                raise StepError(f"Could not {action.lower()} module {step.module}: {exc}") from exc
        if step.spec is not None and self._wanted.get(step.module) != step.spec.status:
            self._wanted[step.module] = step.spec.status
            self._ground.kept.write(_WANTED, self._wanted)

    def restart(self, name: str) -> None:
        """Stop and start a module, whatever is wanted of it.

        Raises:
            StepError: It cannot be started again.
        """
        self.carry_out(Step(module=name, actions=(Action.STOP, Action.START)), ())

    def close(self) -> None:
        """Close the modules' way out."""
        self._way_out.close()

    def logs(self) -> dict[str, bytes]:
        """Return what each module printed."""
        return {name: self._engine.log(name) for name in self._engine.containers()}

    def _act(self, action: Action, step: Step, credentials: tuple[Credential, ...]) -> None:
        name = step.module
        if action is Action.COUNT:
            before = self._restarts.get(name, _Restarts(0, 0.0))
            self._restarts[name] = _Restarts(before.count + 1, self._ground.faults.clock())
            self._ground.kept.write(_RESTARTS, self._restarts)
        elif action is Action.FORGET:
            self._forget(name)
        elif name == EDGE_HUB:
            self._act_on_hub(action, step.spec)
        elif action is Action.PREPARE and step.spec is not None:
            self._pulls.get(step.spec, credentials)
        elif action is Action.CREATE and step.spec is not None:
            self._engine.create(self._making(step.spec))
        elif action is Action.START:
            self._workload.open(name)
            self._engine.start(name)
        elif action is Action.STOP:
            self._engine.stop(name)
        elif action is Action.REMOVE:
            self._engine.remove(name)
            self._workload.close(name)
            self._forget(name)

    def _act_on_hub(self, action: Action, spec: ModuleSpec | None) -> None:
        now = self._ground.faults.clock()
        if action is Action.CREATE and spec is not None:
            self._keep_hub(Container(spec=spec, image_id=pretended_hash(spec.image)))
        elif action is Action.START and self._hub_module is not None:
            if not self._hub.is_running:
                self._hub.start()
            self._keep_hub(
                msgspec.structs.replace(self._hub_module, state="running", started_at=now)
            )
        elif action in {Action.STOP, Action.REMOVE}:
            self._hub.stop()
            if self._hub_module is not None and action is Action.STOP:
                self._keep_hub(
                    msgspec.structs.replace(self._hub_module, state="exited", exited_at=now)
                )
            else:
                self._keep_hub(None)

    def _making(self, spec: ModuleSpec) -> Making:
        image = self._pulls.present(spec)
        identity = self._ground.identities.get(spec.name)
        if identity is None:
            raise EngineError(f"Module identity of {spec.name} could not be obtained")
        socket = self._workload.open(spec.name)
        settings = self._ground.settings
        env = {
            "IOTEDGE_WORKLOADURI": f"unix://{socket}",
            "IOTEDGE_IOTHUBHOSTNAME": settings.hub_host,
            "IOTEDGE_GATEWAYHOSTNAME": self._ground.gateway,
            "IOTEDGE_DEVICEID": settings.device_id,
            "IOTEDGE_MODULEID": spec.name,
            "IOTEDGE_MODULEGENERATIONID": identity.generation,
            "IOTEDGE_AUTHSCHEME": "sasToken",
            "IOTEDGE_APIVERSION": API_VERSION,
            "RuntimeLogLevel": "info",
            **self._way_out.variables,
        }
        return Making(
            spec=spec,
            image=image,
            options=parse_options(spec.create_options),
            env=env,
            binds=((str(self._ground.sockets), str(self._ground.sockets)),),
        )

    def _module(self, name: str, container: Container, pace: Pace) -> Module:
        restarts = self._restarts.get(name, _Restarts(0, 0.0))
        wanted = self._wanted.get(name, container.spec.status)
        spec = msgspec.structs.replace(container.spec, status=wanted)
        status = container.status
        if spec.status == "running":
            status = status_under(spec.restart_policy, status, restarts.count, pace)
        return Module(
            spec=spec,
            status=status,
            description="running" if status is RuntimeStatus.RUNNING else _described(container),
            exit_code=container.exit_code,
            image_hash=container.image_id,
            started_at=container.started_at,
            exited_at=container.exited_at,
            restart_count=restarts.count,
            restarted_at=restarts.at,
        )

    def _forget(self, name: str) -> None:
        if self._restarts.pop(name, None) is not None:
            self._ground.kept.write(_RESTARTS, self._restarts)

    def _keep_hub(self, container: Container | None) -> None:
        self._hub_module = container
        self._ground.kept.write(_HUB_KEPT, container)


def pretended_hash(image: str) -> str:
    """Return an image's hash for a system module, of which nothing is pulled."""
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def _described(container: Container) -> str:
    return "exited" if container.state == "exited" else "created"
