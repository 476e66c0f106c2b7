"""Puts the agent together from a configuration, and runs it until it is told to stop."""

from __future__ import annotations

import functools
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_components.agent.agent import Agent, AgentTiming
from edge_components.agent.config import identity_of, load_config
from edge_components.agent.control import ControlClient
from edge_components.agent.ddi import DdiClient
from edge_components.agent.handover import Reception
from edge_components.agent.http import HubHttp, Timeouts
from edge_components.agent.importing import import_bundle
from edge_components.agent.layout import RUNTIME, Launch, layout_of
from edge_components.agent.supervisor import Supervisor, SupervisorTiming
from edge_components.contract.device import ENGINES, DeviceConfig
from edge_components.store.disk import Disk
from edge_components.store.store import Store
from edge_components.update.executor import Timing, Updater
from edge_components.update.golden import GoldenCheck
from edge_components.update.ports import Trust
from edge_components.update.trust import ChildTrust

_LOG = logging.getLogger(__name__)
_ERRAND_S = 10.0


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Every duration of the agent, and the runtime's command; the defaults are for service."""

    runtime: tuple[str, ...] = RUNTIME
    agent: AgentTiming = AgentTiming()
    supervisor: SupervisorTiming = SupervisorTiming()
    soak: Timing = Timing()
    timeouts: Timeouts = Timeouts()
    control_s: float = 5.0
    check_s: float = 600.0


def run(
    config_path: Path,
    *,
    tuning: Tuning | None = None,
    disk: Disk | None = None,
    trust: Trust | None = None,
    errand: Callable[[Agent], None] | None = None,
) -> int:
    """Run the agent until SIGTERM or SIGINT, or until an errand has ended.

    Args:
        config_path: The device's configuration.
        tuning: Durations other than those for service.
        disk: Durable file operations, if they are to be observed.
        trust: Who is believed; by default the configured publishers, verified in a child.
        errand: What to do in place of asking the hub; called in a thread of its own.

    Raises:
        ContractError: The configuration cannot be used.
        StoreError: The store cannot be used, for example because another agent runs.
    """
    tuning = tuning or Tuning()
    config, profile = load_config(config_path)
    layout = layout_of(config)
    layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store.open(layout.store, config.store, disk=disk)
    try:
        launch = Launch(
            program=tuning.runtime,
            config=config,
            config_path=config_path.absolute(),
            layout=layout,
        )
        supervisor = _supervisor(launch, store, tuning)
        agent = _agent(config, store, supervisor, tuning, hub=errand is None)
        agent.attach(
            Updater(
                store,
                trust=trust or ChildTrust(config.trust.publishers),
                checker=GoldenCheck(
                    tuning.runtime,
                    config.device.hardware,
                    timeout_s=tuning.check_s,
                    engines=layout.store / ENGINES,
                ),
                runtime=supervisor,
                profile=profile,
                application=config.device.application,
                keep=config.store.keep,
                changed=agent.changed,
                timing=tuning.soak,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: agent.stop())
        _LOG.info("device '%s' runs '%s'", config.device.id, config.device.application)
        if errand is not None:
            _run_errand(agent, errand)
            return 0
        with _received(agent, layout.agent_socket, config.device.id):
            agent.run()
    finally:
        store.close()
    return 0


def _supervisor(launch: Launch, store: Store, tuning: Tuning) -> Supervisor:
    def version_dir(number: int) -> Path:
        return store.versions.path(number)

    return Supervisor(
        lambda version: launch.command(version, version_dir(version.number)),
        folder=launch.layout.state_dir,
        control=ControlClient(launch.layout.control_socket, timeout_s=tuning.control_s),
        version_dir=version_dir,
        timing=tuning.supervisor,
    )


def _run_errand(agent: Agent, errand: Callable[[Agent], None]) -> None:
    def work() -> None:
        try:
            errand(agent)
        finally:
            agent.stop()

    worker = threading.Thread(target=work, name="errand", daemon=True)
    worker.start()
    agent.run()
    worker.join(_ERRAND_S)


@contextmanager
def _received(agent: Agent, path: Path, device: str) -> Iterator[None]:
    """Take bundles at the agent's own socket; a device that cannot have one runs without."""
    reception = Reception(path, device, functools.partial(import_bundle, agent))
    try:
        reception.start()
    except OSError as exc:
        _LOG.warning("'%s': no bundle can be imported: %s", path, exc.strerror)
    try:
        yield
    finally:
        reception.stop()


def _agent(
    config: DeviceConfig, store: Store, supervisor: Supervisor, tuning: Tuning, *, hub: bool
) -> Agent:
    identity = identity_of(config)
    client, timing = None, tuning.agent
    if config.hub is not None and hub:
        http = HubHttp(config.hub, timeouts=tuning.timeouts, agent=identity.agent)
        client = DdiClient(http, config.hub, config.device.id)
        timing = msgspec.structs.replace(timing, poll_s=config.hub.poll_s or timing.poll_s)
    return Agent(store, client=client, supervisor=supervisor, identity=identity, timing=timing)
