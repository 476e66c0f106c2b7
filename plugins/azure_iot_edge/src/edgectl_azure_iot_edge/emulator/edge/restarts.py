"""Decides when a module that ended is started again (the agent's restart policy and back-off).

As the agent counts: each restart doubles the pause from ten seconds to five minutes; after so many
it gives up; after ten minutes of health it forgets (RestartPolicyManager, doc/
EnvironmentVariables.md: CoolOffTimeUnitInSeconds, MaxRestartCount, IntensiveCareTimeInMinutes).
"""

from __future__ import annotations

from collections.abc import Mapping

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.records import Module, RestartPolicy, RuntimeStatus

MAX_PAUSE_S = 300.0
_ALWAYS_TOO = {RuntimeStatus.STOPPED}
_FAILURES = {RuntimeStatus.FAILED, RuntimeStatus.UNHEALTHY}


class Pace(Record, frozen=True, kw_only=True):
    """How patient the agent is.

    Attributes:
        unit_s: The first pause before a restart or another try of a step is twice this.
        max_restarts: After so many it gives up.
        healthy_s: After so long a module's restarts are forgotten.
    """

    unit_s: float = 10.0
    max_restarts: int = 20
    healthy_s: float = 600.0


def paced(usual: Pace, env: Mapping[str, str]) -> Pace:
    """Return the pace with what the environment of ``edgeAgent`` says otherwise."""
    return Pace(
        unit_s=_number(env, "CoolOffTimeUnitInSeconds", usual.unit_s),
        max_restarts=int(_number(env, "MaxRestartCount", usual.max_restarts)),
        healthy_s=_number(env, "IntensiveCareTimeInMinutes", usual.healthy_s / 60) * 60,
    )


def status_under(
    policy: RestartPolicy, status: RuntimeStatus, restarts: int, pace: Pace
) -> RuntimeStatus:
    """Return what is said of a module that is ``status``: ``backoff`` when it will be restarted."""
    restartable = {
        "never": set(),
        "on-failure": _FAILURES,
        "on-unhealthy": _FAILURES,
        "always": _FAILURES | _ALWAYS_TOO,
    }
    if status not in restartable[policy]:
        return status
    return RuntimeStatus.FAILED if restarts >= pace.max_restarts else RuntimeStatus.BACKOFF


def pause_s(restarts: int, pace: Pace) -> float:
    """Return how long after its end a module waits that was restarted so often."""
    return min(pace.unit_s * 2.0 ** min(restarts, 60), MAX_PAUSE_S)


def is_due(module: Module, now: float, pace: Pace) -> bool:
    """Say whether a module in ``backoff`` is to be started now."""
    if module.status is not RuntimeStatus.BACKOFF:
        return False
    gone = now - module.exited_at
    return gone < 0 or gone > pause_s(module.restart_count, pace)


def is_healthy_again(module: Module, now: float, pace: Pace) -> bool:
    """Say whether a running module has been so for so long that its restarts are forgotten."""
    return bool(
        module.status is RuntimeStatus.RUNNING
        and module.restart_count
        and now - module.exited_at > pace.healthy_s
    )


def _number(env: Mapping[str, str], name: str, usual: float) -> float:
    try:
        return float(env[name])
    except (KeyError, ValueError):
        return usual
