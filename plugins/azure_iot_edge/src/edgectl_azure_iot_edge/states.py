"""What a device's twins mean: the pure part of ``observe``.

A device is judged by its own words: what our module reports of the release, and what edgeAgent
reports of the deployment that carries it (iotedge, reported_states_during_deployment.md). The
hub's metrics of a deployment say nothing about a device: they count a slow pull as a failure and
a module that crashes after a good start as a success.

- The deployment is on the device when the hub applied it (``Applied``, not only ``Targeted``),
  edgeAgent has seen this version of its desired properties, and says 200.
- 500 is often not the end: edgeAgent waits a minute for an image, reports 500, and goes on
  pulling. So it has a grace time. Our module's own report counts before it: the 500 may be about
  another team's module.
- A module that stands still after a 200 has crashed, whatever it reported before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgectl.api import DeviceStatus, ModuleReport, Reason, Record, State, parse_report
from edgectl_azure_iot_edge.limits import twin_bytes
from edgectl_azure_iot_edge.names import Given

APPLIED = "Applied"
TARGETED = "Targeted"
OK = 200
NOT_RUNNING = 406
WRONG_SCHEMA = 412
NO_CONFIGURATION = 417
BAD_CONFIGURATION = 400
FAILING = 500
MAX_DETAIL = 500
WEDGE = "Step previously failed in deployment"
"""edgeAgent has given up on a step until it is started anew or has a new version (iotedge#6971)."""
_DOWN = frozenset({"failed", "backoff", "unhealthy", "stopped", "dead"})
_REFUSED = frozenset({BAD_CONFIGURATION, WRONG_SCHEMA, NO_CONFIGURATION})
_ON_THE_WAY = {
    State.PENDING: State.INSTALLING,
    State.DOWNLOADING: State.DOWNLOADING,
    State.INSTALLING: State.INSTALLING,
    State.VERIFYING: State.VERIFYING,
}


class Module(Record, frozen=True, kw_only=True):
    """What edgeAgent reports of our module.

    Attributes:
        status: ``runtimeStatus``.
        exit_code: Of its last end.
        restarts: How often it was started again.
        description: Why it stands as it stands.
    """

    status: str = ""
    exit_code: int = 0
    restarts: int = 0
    description: str = ""


class Agent(Record, frozen=True, kw_only=True):
    """What the twin of ``$edgeAgent`` says.

    Attributes:
        configurations: Deployment → ``Targeted`` or ``Applied``.
        wanted: Version of the desired properties; None where there is no such twin.
        took: The version that edgeAgent saw last, or None.
        code: Its ``lastDesiredStatus``, or None.
        description: Its words.
        has_base: Whether a base deployment (or one for this device) is there.
        connected: Whether the hub sees it connected.
        last_activity: When it was heard of last, seconds since 1970 UTC, or None.
        modules: What it reports of modules, by name.
        reported_bytes: Size of what it reports of modules.
    """

    configurations: dict[str, str] = {}
    wanted: int | None = None
    took: int | None = None
    code: int | None = None
    description: str = ""
    has_base: bool = False
    connected: bool = False
    last_activity: float | None = None
    modules: dict[str, Module] = {}
    reported_bytes: int = 0

    @property
    def is_wedged(self) -> bool:
        """Whether edgeAgent has given up until somebody nudges it."""
        words = [self.description, *(module.description for module in self.modules.values())]
        return any(WEDGE in text for text in words)


class Case(Record, frozen=True, kw_only=True):
    """Everything that is known of one device and one application.

    Attributes:
        given: What its tag says.
        configuration: The id of the deployment of the release that it was given.
        module: Our module's name.
        agent: What edgeAgent says.
        report: What our module says, or None.
    """

    device: str
    given: Given
    configuration: str
    module: str
    agent: Agent = Agent()
    report: ModuleReport | None = None


class Patience(Record, frozen=True, kw_only=True):
    """How long what is waited for.

    Attributes:
        now: Seconds since 1970 UTC.
        failing_s: How long 500, a crash or a deployment that loses may last.
        silent_s: How long a device may be quiet that has something to do.
    """

    now: float
    failing_s: float
    silent_s: float


def judge(case: Case, release: int | None, patience: Patience) -> DeviceStatus | None:
    """Return where a device stands with a release; None if it was never given it.

    Args:
        case: What is known.
        release: The release in question; None asks for what the device was given last.
        patience: How long what is waited for.
    """
    given, report = case.given, case.report
    if release is not None and release != given.release:
        if given.before != release or not given.release:
            return None
        return _status(case, State.SUPERSEDED, release, raw=f"r{given.release}")
    if not given.release:
        return _unowned(case)
    if report is not None and report.desired == given.release:
        return _reported(case, report, patience)
    return _silent(case, patience)


def has_begun(report: ModuleReport | None, release: int) -> bool:
    """Whether a module is past the point up to which a release can be taken back from it."""
    if report is None or report.desired != release:
        return False
    return report.phase not in {State.PENDING, State.DOWNLOADING}


def _unowned(case: Case) -> DeviceStatus | None:
    """Return what a device says that was never given anything, or had it taken away."""
    report = case.report
    if report is None or not report.current:
        return None
    return _status(case, State.SUPERSEDED, report.desired, raw="untagged")


def _reported(case: Case, report: ModuleReport, patience: Patience) -> DeviceStatus:
    """Judge a device whose module speaks of the release."""
    if report.phase.is_failure:
        return _status(
            case, report.phase, report.desired, reason=report.reason, detail=report.detail
        )
    agent = case.agent
    module = agent.modules.get(case.module, Module())
    if module.status in _DOWN and agent.took == agent.wanted:
        return _crashed(case, module, patience)
    if report.phase is not State.HEALTHY:
        state = _ON_THE_WAY.get(report.phase, report.phase)
        return _quiet(case, state, patience, detail=report.detail, reason=report.reason)
    if not _is_applied(case):
        return _status(case, State.VERIFYING, report.desired, detail=_why_not_applied(case))
    return _confirmed(case, patience)


def _confirmed(case: Case, patience: Patience) -> DeviceStatus:
    """Judge a device whose module is healthy and whose edgeAgent has the deployment."""
    agent = case.agent
    if agent.code in _REFUSED:
        return _refused(case)
    if agent.code == FAILING and _waits(case, patience.failing_s, patience):
        return _status(case, State.VERIFYING, detail=agent.description)
    return _status(case, State.HEALTHY)


def _silent(case: Case, patience: Patience) -> DeviceStatus:
    """Judge a device whose module does not speak of the release yet."""
    agent = case.agent
    if not _is_applied(case):
        lost = agent.configurations.get(case.configuration) == TARGETED
        if lost and not _waits(case, patience.failing_s, patience):
            return _status(case, State.SUPERSEDED, detail="a deployment of higher priority won")
        return _quiet(case, State.PENDING, patience, detail=_why_not_applied(case))
    module = agent.modules.get(case.module, Module())
    if agent.code in _REFUSED:
        return _refused(case)
    if agent.code == FAILING and not _waits(case, patience.failing_s, patience):
        return _status(
            case, State.FAILED, reason=Reason.DOWNLOAD_FAILED, detail=_words(agent, module)
        )
    if agent.code == OK and module.status in _DOWN:
        return _crashed(case, module, patience)
    # Most releases keep the image, so edgeAgent has nothing to do: the module has yet to read it.
    waiting = case.report is not None and agent.code == OK
    state = State.PENDING if waiting else State.INSTALLING
    return _quiet(case, state, patience, detail=_words(agent, module))


def _crashed(case: Case, module: Module, patience: Patience) -> DeviceStatus:
    """Judge a module that stands still: it may come up again by itself for a while."""
    detail = (
        f"the module is {module.status}: it ended with exit code {module.exit_code} and was "
        f"started again {module.restarts} times"
    )
    healthy = case.report is not None and case.report.phase is State.HEALTHY
    if module.status == "backoff" and not healthy and _waits(case, patience.failing_s, patience):
        return _status(case, State.INSTALLING, detail=detail)
    return _status(case, State.FAILED, reason=Reason.RUNTIME_CRASHED, detail=detail)


def _refused(case: Case) -> DeviceStatus:
    return _status(case, State.FAILED, reason=Reason.BAD_PACKAGE, detail=case.agent.description)


def _quiet(
    case: Case, state: State, patience: Patience, *, detail: str = "", reason: str = ""
) -> DeviceStatus:
    """Return a state on the way, or unreachable for a device that was not heard of for long."""
    agent, since = case.agent, case.given.at or None
    if not agent.connected or agent.code == NOT_RUNNING:
        heard = max(since or 0.0, agent.last_activity or 0.0)
        if patience.now - heard > patience.silent_s:
            return _status(case, State.UNREACHABLE, reason=Reason.NOT_SEEN, since=heard)
    began = since if state is State.PENDING else None
    return _status(case, state, reason=reason, detail=detail, since=began)


def _is_applied(case: Case) -> bool:
    """Whether the deployment is on the device, and edgeAgent has seen it."""
    agent = case.agent
    applied = agent.configurations.get(case.configuration) == APPLIED
    return applied and agent.wanted is not None and agent.wanted == agent.took


def _why_not_applied(case: Case) -> str:
    agent = case.agent
    found = agent.configurations.get(case.configuration)
    if found is None:
        return "the hub has not given the deployment to the device yet"
    if found == TARGETED:
        return "the hub has not applied the deployment: one of higher priority may have won"
    return "edgeAgent has not seen the deployment yet"


def _waits(case: Case, patience_s: float, patience: Patience) -> bool:
    return patience.now - case.given.at < patience_s


def _words(agent: Agent, module: Module) -> str:
    return module.description or (agent.description if agent.code != OK else "")


def _status(
    case: Case,
    state: State,
    release: int | None = None,
    *,
    reason: str = "",
    detail: str = "",
    since: float | None = None,
    raw: str = "",
) -> DeviceStatus:
    """Return a status with everything that the device said itself."""
    report, agent = case.report, case.agent
    told: dict[str, Any] = {}
    if report is not None:
        told = {
            "active_release": report.current,
            "active_package": report.active,
            "variant": report.variant,
            "execution_provider": report.provider,
        }
    code = "" if agent.code is None else str(agent.code)
    found = agent.configurations.get(case.configuration, "")
    return DeviceStatus(
        device=case.device,
        state=state,
        release=case.given.release if release is None else release,
        reason=str(reason),
        detail=detail[:MAX_DETAIL],
        since=since,
        raw=raw or ":".join(word for word in (found, code) if word),
        **told,
    )


def read_agent(row: Mapping[str, Any], last_activity: float | None) -> Agent:
    """Read a row of a query over ``$edgeAgent`` twins.

    Args:
        row: With the columns of ``queries.AGENT_COLUMNS``.
        last_activity: When the device was heard of last, or None.
    """
    status = _mapping(row.get("status"))
    configurations = {
        str(name): str(_mapping(value).get("status", ""))
        for name, value in _mapping(row.get("configurations")).items()
    }
    return Agent(
        configurations=configurations,
        wanted=_number(row.get("wanted")),
        took=_number(row.get("took")),
        code=_number(status.get("code")),
        description=str(status.get("description") or ""),
        has_base=row.get("runtime") is not None,
        connected=str(row.get("connectionState", "")).lower() == "connected",
        last_activity=last_activity,
        modules={
            str(name): read_module(_mapping(value))
            for name, value in _mapping(row.get("modules")).items()
        },
        reported_bytes=twin_bytes(row.get("modules")),
    )


def read_module(found: Mapping[str, Any]) -> Module:
    """Read what edgeAgent reports of one module."""
    return Module(
        status=str(found.get("runtimeStatus") or "").lower(),
        exit_code=_number(found.get("exitCode")) or 0,
        restarts=_number(found.get("restartCount")) or 0,
        description=str(found.get("statusDescription") or ""),
    )


def read_module_report(row: Mapping[str, Any]) -> ModuleReport | None:
    """Read a row of a query over our module's twins."""
    found = row.get("told")
    if isinstance(found, Mapping):
        found = {key: value for key, value in found.items() if not key.startswith("$")}
    return parse_report(msgspec.to_builtins(found)) if found else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
