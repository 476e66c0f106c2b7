"""The device: what it is made of, and the one loop that does deployments."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgectl_aws_greengrass.emulator.nucleus.cloud import CloudApi
from edgectl_aws_greengrass.emulator.nucleus.document import Deployment, parse_document
from edgectl_aws_greengrass.emulator.nucleus.failures import (
    CancelledError,
    DeploymentError,
    UnavailableError,
)
from edgectl_aws_greengrass.emulator.nucleus.ipc.operations import Operations
from edgectl_aws_greengrass.emulator.nucleus.ipc.server import IpcServer
from edgectl_aws_greengrass.emulator.nucleus.kernel import Kernel
from edgectl_aws_greengrass.emulator.nucleus.mqtt import Link
from edgectl_aws_greengrass.emulator.nucleus.orders import Order, Orders
from edgectl_aws_greengrass.emulator.nucleus.service import Service, ServiceState
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings
from edgectl_aws_greengrass.emulator.nucleus.state import StateFile
from edgectl_aws_greengrass.emulator.nucleus.status import Condition, fleet_status, information
from edgectl_aws_greengrass.emulator.nucleus.store import Store
from edgectl_aws_greengrass.emulator.nucleus.task import Task
from edgectl_aws_greengrass.emulator.nucleus.tes import TokenExchange

log = logging.getLogger(__name__)

CADENCE_S = 86_400.0
_MAX_SOCKET_PATH = 100
_RETRY_S = 5.0
_TELLING = frozenset({ServiceState.ERRORED, ServiceState.BROKEN})


class Nucleus:
    """A core device.

    Args:
        settings: Its configuration.
        s3_endpoint: Where S3 is instead of at AWS's own address, or None.
        disk_bytes: The size of a pretended disk, None for the real one.
    """

    def __init__(
        self, settings: NucleusSettings, s3_endpoint: str | None, disk_bytes: int | None
    ) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._connections = 0
        self._told_connections = 0
        self._trouble = False
        self._state = StateFile(settings.root / "config" / "state.json")
        self._store = Store(settings.root, settings.store_max_bytes, disk_bytes)
        self._own_folder, socket = _socket_path(settings.root)
        self._kernel = Kernel(settings, self._store, socket, self._on_service)
        self._link = Link(settings, self._on_connected, self._stopping)
        self._orders = Orders(settings.thing, self._link, self._state, self._wake.set)
        self._operations = Operations(settings, self._kernel, self._state, self._link)
        self._ipc = IpcServer(socket, self._operations)
        self._api = CloudApi(settings, s3_endpoint)
        self._tes = TokenExchange(
            lambda token: self._kernel.by_token(token) is not None, self._api.credentials
        )
        self._kernel.credentials_uri = self._tes.uri

    def run(self) -> None:
        """Start the components, then serve the cloud until ``stop``."""
        self._ipc.start()
        self._tes.start()
        self._kernel.start(self._state.state.components)
        self._link.start()
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                idle = self._round()
            except UnavailableError as exc:
                log.warning("%s; it is tried again", exc)
                self._stopping.wait(0.2)
                idle = True
            if idle:
                self._wake.wait(_RETRY_S if self._link.is_up else CADENCE_S)
        self._kernel.stop()
        self._link.stop()
        self._ipc.stop()
        self._tes.stop()
        if self._own_folder is not None:
            self._own_folder.rmdir()

    def stop(self) -> None:
        """Have ``run`` end; a deployment that is under way is resumed after the next start."""
        self._stopping.set()
        self._wake.set()

    def _round(self) -> bool:
        """Do what there is to do; return whether nothing is left."""
        if not self._link.is_up:
            return True
        self._orders.flush()
        self._tell_health()
        order = self._orders.next()
        if order is None:
            return True
        self._deploy(order)
        return False

    def _deploy(self, order: Order) -> None:
        task = Task(
            settings=self._settings,
            state=self._state,
            store=self._store,
            kernel=self._kernel,
            api=self._api,
            ask=self._operations.ask_components,
            stopping=self._stopping,
        )
        if not self._orders.begin(order, task.cancelled):
            self._orders.dropped(order)
            return
        had = set(self._state.state.components)
        told = {"fleetConfigurationArnForStatus": order.key}
        try:
            deployment = self._read(order)
            told = {
                "deploymentId": deployment.deployment_id,
                "fleetConfigurationArnForStatus": deployment.configuration_arn,
            }
            log.info("deployment %s begins", deployment.deployment_id)
            failure = task.run(deployment)
        except DeploymentError as exc:
            failure = exc
        except CancelledError:
            if not self._stopping.is_set():
                self._orders.dropped(order)
            return
        log.info("deployment %s: %s", order.key, failure or "SUCCESSFUL")
        self._orders.end(order, failure)
        self._trouble = False  # what happened meanwhile is in this message
        self._send_status(order.trigger, had, {**information(failure), **told})

    def _read(self, order: Order) -> Deployment:
        document = order.document
        found = json.loads(document)
        if "LARGE_CONFIGURATION" in (found.get("requiredCapabilities") or ()):
            document = self._api.configuration(str(found["deploymentId"])).decode()
        return parse_document(document)

    def _tell_health(self) -> None:
        if self._told_connections != self._connections:
            first = self._told_connections == 0
            self._told_connections = self._connections
            self._send_status("NUCLEUS_LAUNCH" if first else "RECONNECT")
        elif self._trouble:
            self._send_status("COMPONENT_STATUS_CHANGE")
        self._trouble = False

    def _send_status(
        self,
        trigger: str,
        removed: Iterable[str] = (),
        deployment: Mapping[str, object] | None = None,
    ) -> None:
        state = self._state.change(sequence=self._state.state.sequence + 1)
        with self._kernel.changed:
            conditions = {
                name: Condition(
                    state=service.state, code=service.status_code, reason=service.status_reason
                )
                for name, service in self._kernel.services.items()
            }
        message = fleet_status(
            self._settings,
            trigger=trigger,
            sequence=state.sequence,
            components=state.components,
            conditions=conditions,
            removed=removed,
            deployment=deployment,
        )
        topic = f"$aws/things/{self._settings.thing}/greengrassv2/health/json"
        self._link.publish(topic, json.dumps(message).encode())

    def _on_connected(self) -> None:
        self._connections += 1
        self._wake.set()

    def _on_service(self, service: Service) -> None:
        if service.state in _TELLING:
            self._trouble = True
            self._wake.set()


def _socket_path(root: Path) -> tuple[Path | None, Path]:
    """Return where components find the nucleus, and the folder made for that, if one was.

    A unix socket's path has 107 bytes at most, so a root folder that is deep cannot hold it.
    """
    path = root / "ipc.socket"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return None, path
    folder = Path(tempfile.mkdtemp(prefix="greengrass-"))
    folder.chmod(0o755)
    return folder, folder / path.name
