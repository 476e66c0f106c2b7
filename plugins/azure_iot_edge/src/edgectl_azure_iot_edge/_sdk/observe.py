"""``observe``: where each device stands, in queries that grow with pages and not with devices.

What devices were given stands in their tags; what became of it, in the twins of edgeAgent and of
our module. An edgeAgent that has given up on a step ("Step previously failed in deployment") is
nudged once: it is started anew by its own direct method, which touches nothing else.
"""

from __future__ import annotations

import contextlib
import time

from edgectl.api import DeviceStatus, ObservePage, ObserveRequest, ProviderError
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.fleet import Fleet, Words
from edgectl_azure_iot_edge._sdk.hub import invoke
from edgectl_azure_iot_edge.names import AGENT, Given, configuration_id
from edgectl_azure_iot_edge.states import Case, Patience, judge

_RESTART = {"schemaVersion": "1.0", "id": "edgeAgent"}


def observe(account: Account, request: ObserveRequest) -> ObservePage:
    """Return where each device of the target stands, on one page.

    A device that moves between two pages would be seen twice, or not at all.
    """
    fleet = account.fleet(request.target, request.application)
    statuses = look(account, fleet, request.release, request.devices)
    return ObservePage(states=tuple(statuses[device] for device in sorted(statuses)))


def look(
    account: Account,
    fleet: Fleet,
    release: int | None,
    devices: tuple[str, ...] | None = None,
) -> dict[str, DeviceStatus]:
    """Return where devices stand with a release.

    Args:
        account: The account.
        fleet: The target's devices.
        release: The release; None asks for what each device was given last.
        devices: Only these, or None for all.
    """
    wanted = None if devices is None else frozenset(devices)
    given = {
        device.id: fleet.given(device)
        for device in fleet.members.all().values()
        if wanted is None or device.id in wanted
    }
    concerned = {d: g for d, g in given.items() if _concerns(g, release)}
    asked = [d for d, g in concerned.items() if release in {None, g.release}]
    words = fleet.words(asked)
    config = account.config
    patience = Patience(
        now=time.time(),
        failing_s=config.failing_grace_s,
        silent_s=config.unreachable_after_s,
    )
    found = {}
    for device, tag in concerned.items():
        case = case_of(fleet, device, tag, words.get(device))
        status = judge(case, release, patience)
        if status is None:
            continue
        found[device] = status
        fleet.settle(device, settled=status.state.is_settled)
        if release is not None and not status.state.is_settled:
            nudge(fleet, case)
    return found


def case_of(fleet: Fleet, device: str, given: Given, words: Words | None) -> Case:
    """Return what is known of a device."""
    found = configuration_id(fleet.application, given.target or fleet.target.name, given.release)
    case = Case(device=device, given=given, configuration=found, module=fleet.module)
    if words is None:
        return case
    return Case(
        device=device,
        given=given,
        configuration=found,
        module=fleet.module,
        agent=words.agent,
        report=words.report,
    )


def nudge(fleet: Fleet, case: Case) -> None:
    """Start an edgeAgent anew that has given up, once for each version of what it is to run."""
    agent = case.agent
    if not agent.is_wedged or agent.wanted != agent.took:
        return
    if not fleet.first_time((case.device, agent.wanted)):
        return
    # The call often gets no answer: the agent ends while it would give it.
    with contextlib.suppress(ProviderError):
        invoke(fleet.hub, case.device, AGENT, "RestartModule", dict(_RESTART))


def _concerns(given: Given, release: int | None) -> bool:
    if release is None:
        return bool(given.release)
    return bool(given.release) and release in {given.release, given.before}
