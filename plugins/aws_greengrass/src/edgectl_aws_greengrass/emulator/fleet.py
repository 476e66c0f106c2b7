"""The emulated account with core devices around it: started, enrolled, watched, stopped.

The account runs in this process, each core device in one of its own. Devices are added with
``edgectl devices add``, as a user adds them; what a laptop has otherwise than a device (folders,
ports, the name of the endpoints) is then changed in the files that it wrote.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml

from edgectl.api import Project, ProviderError, Record
from edgectl.emulation import DEFAULT_HARDWARE, Processes, add_device, settle_device
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.devicefiles import (
    CA_FILE,
    CERTIFICATE_FILE,
    DEVICE_FILE,
    KEY_FILE,
    NUCLEUS,
    NUCLEUS_FILE,
)
from edgectl_aws_greengrass.emulator.account import Ports, RunningAccount
from edgectl_aws_greengrass.emulator.seed import seed
from edgectl_aws_greengrass.selector import read_selector

NUCLEUS_MODULE = "edgectl_aws_greengrass.emulator.nucleus"
CROWD_MODULE = "edgectl_aws_greengrass.emulator.nucleus.crowd"
CROWD_READY = '"connected"'
CROWD_TIMEOUT_S = 60.0
CROWD_THING_S = 0.2


class VirtualDevice(Record, frozen=True, kw_only=True):
    """A core device to start: its name, its target and its hardware profile.

    Attributes:
        disk_bytes: How large its disk is to seem; None is as large as this machine's.
    """

    name: str
    target: str
    hardware: str
    disk_bytes: int | None = None


class Crowd(Record, frozen=True, kw_only=True):
    """Things that only pretend to run components, all in one process.

    Attributes:
        full_disks: How many of them have no room for an artifact.
    """

    size: int
    target: str
    full_disks: int = 0


class RunningDevice(Record, frozen=True, kw_only=True):
    """A core device that runs.

    Attributes:
        url: Where its runtime answers once a release is on it.
        root: Its Greengrass root folder.
    """

    name: str
    target: str
    hardware: str
    url: str
    state_dir: str
    root: str


class FleetInfo(Record, frozen=True, kw_only=True):
    """What a user of the emulator needs.

    Attributes:
        env: The variables to set for ``edgectl`` and boto3.
        control: Where the emulator is steered (``/_edgectl/calls``, ``faults``, ``users``, …).
        data_url: Data plane, credentials and S3 for devices, over TLS.
        ca_file: What devices have to trust.
        roles: ``device``, ``training`` and ``rule`` → ARN, for ``providers.aws``.
    """

    env: dict[str, str]
    control: str
    data_url: str
    mqtt_host: str
    mqtt_port: int
    ca_file: str
    account: str
    region: str
    roles: dict[str, str]
    devices: tuple[RunningDevice, ...]


class Fleet:
    """An account and its core devices below one folder.

    Args:
        folder: Takes certificates, the devices' folders and everybody's log.
        project: Whose ``providers.aws`` and targets are set up.
        names: Names that devices call this machine by.
    """

    def __init__(
        self,
        folder: Path,
        project: Project,
        *,
        ports: Ports | None = None,
        host: str = "127.0.0.1",
        names: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held = contextlib.ExitStack()
        self._hold_folder()
        self._project = project
        self._config = msgspec.convert(project.provider_config("aws"), AwsConfig)
        self._account = RunningAccount(
            self._folder / "account",
            region=self._config.region or "us-east-1",
            names=names,
            host=host,
            ports=ports,
        )
        self._processes = Processes(self._folder / "logs")
        self._env = dict(os.environ)

    def start(
        self,
        devices: tuple[VirtualDevice, ...],
        crowds: tuple[Crowd, ...] = (),
    ) -> FleetInfo:
        """Open the account, add the devices and start them.

        Raises:
            ProviderError: A program does not come up; its last lines are in the message.
        """
        self._account.start()
        roles = seed(self._account.cloud, self._config, self._groups())
        settings = self._account.settings()
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
            self._env.pop(name, None)
        self._env.update(settings)
        running = tuple(self._start_device(device) for device in devices)
        for number, crowd in enumerate(crowds, 1):
            self._start_crowd(number, crowd)
        return FleetInfo(
            env=settings,
            control=f"{self._account.url}/_edgectl",
            data_url=self._account.data_url,
            mqtt_host=self._account.host_name,
            mqtt_port=self._account.broker.port,
            ca_file=str(self._account.ca_file),
            account=self._account.cloud.account,
            region=self._account.cloud.region,
            roles=roles,
            devices=running,
        )

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            ProviderError: A program ended by itself.
        """
        name = self._processes.ended()
        if name is not None:
            raise ProviderError(f"'{name}' ended: {self._processes.log_tail(name)}")

    def stop(self) -> None:
        """Stop the devices, then the account."""
        self._processes.stop()
        self._account.stop()
        self._held.close()

    def _hold_folder(self) -> None:
        """Keep the folder to this emulator: a second one would give its devices other keys."""
        lock = self._held.enter_context((self._folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._held.close()
            raise ProviderError(
                f"an emulator runs in '{self._folder}' already",
                hint="stop it, or give this one another --dir",
            ) from exc

    def _groups(self) -> tuple[str, ...]:
        targets = [t for t in self._project.spec.targets if self._is_ours(t)]
        selectors = [read_selector(self._project.target(name)) for name in targets]
        return tuple(sorted({selector.group for selector in selectors if selector.group}))

    def _is_ours(self, target: str) -> bool:
        return self._project.spec.targets[target].provider == "aws"

    def _start_device(self, device: VirtualDevice) -> RunningDevice:
        folder = self._folder / "devices" / device.name
        add_device(
            device.name,
            device.target,
            device.hardware,
            folder=folder,
            project=self._project.path,
            env=self._env,
        )
        root, state = folder / "greengrass", folder / "state"
        self._rewrite_nucleus(folder, root)
        port = settle_device(folder / DEVICE_FILE, state)
        env = {
            **{k: v for k, v in self._env.items() if not k.startswith("AWS_")},
            "EDGECTL_DEVICE_CONFIG": str(folder / DEVICE_FILE),
            # the runtime component takes the `python3` that it finds when that has edge_components
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
            "AWS_ENDPOINT_URL_S3": self._account.data_url,
        }
        command = [sys.executable, "-m", NUCLEUS_MODULE, "--init-config"]
        command.append(str(folder / NUCLEUS_FILE))
        if device.disk_bytes is not None:
            command += ["--disk-bytes", str(device.disk_bytes)]
        self._processes.start(device.name, command, env)
        return RunningDevice(
            name=device.name,
            target=device.target,
            hardware=device.hardware,
            url=f"http://127.0.0.1:{port}",
            state_dir=str(state),
            root=str(root),
        )

    def _rewrite_nucleus(self, folder: Path, root: Path) -> None:
        file = folder / NUCLEUS_FILE
        document: dict[str, Any] = yaml.safe_load(file.read_text())
        document["system"] |= {
            "certificateFilePath": str(folder / CERTIFICATE_FILE),
            "privateKeyPath": str(folder / KEY_FILE),
            "rootCaPath": str(folder / CA_FILE),
            "rootpath": str(root),
        }
        document["services"][NUCLEUS]["configuration"] |= {
            "greengrassDataPlanePort": self._account.data.port,
            "mqtt": {"port": self._account.broker.port},
        }
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def _start_crowd(self, number: int, crowd: Crowd) -> None:
        target = self._project.target(crowd.target)
        name = f"crowd{number}"
        command = [sys.executable, "-m", CROWD_MODULE, "--things", str(crowd.size)]
        command += [
            "--thing-group",
            _crowd_group(self._project, crowd),
            "--name",
            f"{target.name}-{name}",
        ]
        command += ["--host", self._account.host_name]
        command += ["--mqtt-port", str(self._account.broker.port)]
        command += ["--data-port", str(self._account.data.port)]
        command += ["--folder", str(self._folder / name)]
        command += ["--hardware", target.hardware or DEFAULT_HARDWARE]
        command += ["--full-disks", str(crowd.full_disks)]
        self._processes.start(name, command, self._env)
        deadline = time.monotonic() + CROWD_TIMEOUT_S + crowd.size * CROWD_THING_S
        while CROWD_READY not in self._processes.log_tail(name):
            self.check()
            if time.monotonic() > deadline:
                raise ProviderError(f"'{name}' is not up: {self._processes.log_tail(name)}")
            time.sleep(0.2)


def check_targets(
    project: Project, devices: tuple[VirtualDevice, ...], crowds: tuple[Crowd, ...]
) -> None:
    """Check that what is to be started has a place in the project.

    Raises:
        ProjectError: The project has no such target.
        ProviderError: A target has no thing group for a crowd to join.
    """
    for device in devices:
        project.target(device.target)
    for crowd in crowds:
        _crowd_group(project, crowd)


def _crowd_group(project: Project, crowd: Crowd) -> str:
    group = read_selector(project.target(crowd.target)).group
    if not group:
        raise ProviderError(f"target '{crowd.target}' has no thing group for a crowd to join")
    return group
