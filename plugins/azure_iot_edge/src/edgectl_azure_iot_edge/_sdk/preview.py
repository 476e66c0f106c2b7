"""``preview``: what a plan has to know of the hub before anything changes.

IoT Edge refuses nothing by itself: a layered deployment without a base, one that a higher priority
covers, or one on a device that was set up by hand simply does nothing. So it is said here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgectl.api import LimitError, PlanError, PreviewRequest, PreviewResult
from edgectl_azure_iot_edge._sdk import layers
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.fleet import Fleet, Words
from edgectl_azure_iot_edge._sdk.functions import functions_known
from edgectl_azure_iot_edge._sdk.hub import list_configurations
from edgectl_azure_iot_edge._sdk.images import runtime_image
from edgectl_azure_iot_edge.createoptions import check_one_kind
from edgectl_azure_iot_edge.limits import check_module_count, check_reported, max_deployments
from edgectl_azure_iot_edge.names import configuration_id, function_module
from edgectl_azure_iot_edge.render import Layer, configuration, priority
from edgectl_azure_iot_edge.schema import is_layered, layer_modules
from edgectl_azure_iot_edge.states import APPLIED, TARGETED, Agent

BASE_HINT = (
    "make a base deployment for them (docs/providers/azure.md has one); edgectl only ever adds a "
    "layer to it. A hub takes up to five minutes to give it to a new device"
)
_SOME_DIGEST = f"sha256:{'0' * 64}"

Document = dict[str, Any]


def preview(account: Account, request: PreviewRequest) -> PreviewResult:
    """Check the deployment that would be made, the hub's limits, and every device's base.

    Raises:
        LimitError: A limit of IoT Hub would be exceeded.
        PlanError: A device could not get the release, or the deployment would not be valid.
    """
    fleet = account.fleet(request.target, request.package.application)
    listed = list_configurations(account.hub)
    by_id = {str(document["id"]): document for document in listed}
    wanted = _document(account, fleet, request, by_id)
    _check_room(account, fleet, listed, wanted)
    _test_queries(account, wanted)
    devices = fleet.members.all()
    hardware = request.target.hardware
    check_one_kind(
        request.target.name, {one.hardware or hardware or "": 1 for one in devices.values()}
    )
    words = fleet.words(devices, all_of_them=True)
    ours = layer_modules(wanted["content"]).keys()
    look = _Look(request, by_id, frozenset(ours), priority(account.config, request.release))
    return PreviewResult(notes=look.notes(words))


def _document(
    account: Account, fleet: Fleet, request: PreviewRequest, listed: Mapping[str, Document]
) -> Document:
    """Render the deployment that the release would get, with digests of the right length."""
    package = request.package
    name = configuration_id(fleet.application, fleet.target.name, request.release)
    present = listed.get(name)
    layer = Layer(
        application=fleet.application,
        target=fleet.target.name,
        hardware=request.target.hardware,
        number=request.release,
        package=request.package.digest,
        repository=account.repository(fleet.application),
        artifact=_SOME_DIGEST,
        image=f"{runtime_image(account.config).partition('@')[0]}@{_SOME_DIGEST}",
        functions=functions_known(account.config, package.layout, package.digest, present),
        baked=account.config.runtime.bake,
    )
    return configuration(account.config, layer, fleet.selector)


def _check_room(
    account: Account, fleet: Fleet, listed: Sequence[Document], wanted: Mapping[str, Any]
) -> None:
    """Check that the hub holds one more deployment.

    Raises:
        LimitError: It does not; the message has what could be collected.
    """
    deployments = [one for one in listed if (one.get("content") or {}).get("modulesContent")]
    most = max_deployments(account.config.tier)
    if any(one["id"] == wanted["id"] for one in listed) or len(deployments) < most:
        return
    there = layers.ours(listed, fleet.application, fleet.target.name)
    carried: set[int] = set()
    for device in fleet.members.all().values():
        given = fleet.given(device)
        carried |= {given.release, given.before}
    free = layers.to_collect(there.keys(), carried, newest=max(there, default=0) + 1)
    if free:
        return  # the deploy collects them before it makes the new one
    unused = sorted(
        str(one["id"]) for one in deployments if not _targeted(one) and one["id"] not in there
    )
    named = ", ".join(f"'{name}'" for name in unused[:10]) or "none of them is without devices"
    raise LimitError(
        f"the hub has {len(deployments)} deployments and holds at most {most}: "
        f"'{wanted['id']}' would be one more",
        hint=f"remove deployments that no device has: {named}",
    )


def _targeted(document: Mapping[str, Any]) -> int:
    results = (document.get("systemMetrics") or {}).get("results") or {}
    return int(results.get("targetedCount") or 0)


def _test_queries(account: Account, wanted: Mapping[str, Any]) -> None:
    """Have the hub itself check the target condition and the metrics.

    Raises:
        PlanError: It cannot read them.
    """
    answer = account.hub.write(
        "POST",
        "/configurations/testQueries",
        f"check the condition of '{wanted['id']}'",
        body={
            "targetCondition": wanted["targetCondition"],
            "customMetricQueries": wanted["metrics"]["queries"],
        },
    )
    found = answer.document or {}
    if problem := found.get("targetConditionError"):
        raise PlanError(
            f'the hub cannot read the target condition "{wanted["targetCondition"]}": {problem}',
            hint="correct the target's selector",
        )
    errors = found.get("customMetricQueryErrors") or {}
    if errors:
        name, problem = min(errors.items())
        raise PlanError(f"the hub cannot read the query of metric '{name}': {problem}")


class _Look:
    """One look at what a target's devices have of others."""

    def __init__(
        self,
        request: PreviewRequest,
        configurations: Mapping[str, Document],
        modules: frozenset[str],
        own_priority: int,
    ) -> None:
        self._request = request
        self._configurations = configurations
        self._modules = modules
        self._priority = own_priority

    def notes(self, words: Mapping[str, Words]) -> tuple[str, ...]:
        """Return what stays on the devices, a sentence each.

        Raises:
            PlanError: A device could not get the release.
            LimitError: One would have too many modules, or too large a report.
        """
        self._check_bases(words)
        staying: dict[str, int] = {}
        for device, found in words.items():
            others = self._others(found.agent)
            for name in others:
                self._check_other(device, name)
                staying[name] = staying.get(name, 0) + 1
            self._check_size(device, found.agent)
        return tuple(
            f"stays as it is: deployment '{name}' on {count} devices"
            for name, count in sorted(staying.items())
        )

    def _check_bases(self, words: Mapping[str, Words]) -> None:
        target = self._request.target.name
        bare = [device for device, found in words.items() if not found.agent.has_base]
        if bare:
            raise PlanError(
                f"{_named(bare)} of target '{target}' have no base deployment, which a layered "
                "one needs",
                hint=BASE_HINT,
            )
        by_hand = [d for d, found in words.items() if self._is_set_up_by_hand(found.agent)]
        if by_hand:
            raise PlanError(
                f"{_named(by_hand)} of target '{target}' were set up one by one (`az iot edge "
                "set-modules` or the portal's Set modules), or the base deployment that they had "
                "is gone: IoT Hub does not combine that with deployments for many",
                hint="give them a base deployment by a target condition, then plan again: it "
                "takes the place of what was set by hand",
            )

    def _is_set_up_by_hand(self, agent: Agent) -> bool:
        """Whether what the device is to run comes from no deployment."""
        applied = [
            name
            for name, status in agent.configurations.items()
            if status == APPLIED and not self._is_layer(name)
        ]
        return not applied

    def _is_layer(self, name: str) -> bool:
        document = self._configurations.get(name)
        return document is not None and is_layered(document.get("content") or {})

    def _others(self, agent: Agent) -> list[str]:
        names = (n for n, status in agent.configurations.items() if status in {APPLIED, TARGETED})
        return [name for name in names if not self._is_ours(name)]

    def _is_ours(self, name: str) -> bool:
        document = self._configurations.get(name)
        application = self._request.package.application
        if document is None:
            return False
        own = configuration_id(application, self._request.target.name, self._request.release)
        marks = document.get("labels") or {}
        return name == own or marks.get("edgectl-application") == application

    def _check_other(self, device: str, name: str) -> None:
        document = self._configurations.get(name)
        if document is None:
            return  # it was removed just now
        content, theirs = document.get("content") or {}, int(document.get("priority") or 0)
        if not is_layered(content) and theirs >= self._priority:
            raise PlanError(
                f"the base deployment '{name}' of '{device}' has priority {theirs}, a layer "
                f"on it needs a higher one than {self._priority}",
                hint="raise `priority` of providers.azure, or lower the base deployment's",
            )
        taken = sorted(self._modules & layer_modules(content).keys())
        if taken and not _shared(document, taken):
            raise PlanError(
                f"the deployment '{name}', which edgectl did not make, has a module '{taken[0]}' "
                f"on '{device}' too: only one of them would run",
                hint="rename the module there, or the application here",
            )

    def _check_size(self, device: str, agent: Agent) -> None:
        more = len(self._modules - agent.modules.keys())
        check_module_count(device, len(agent.modules) + more)
        check_reported(device, agent.reported_bytes, more)


def _shared(document: Mapping[str, Any], taken: Sequence[str]) -> bool:
    """Whether only functions are in both, of a deployment that edgectl made for another model."""
    made = (document.get("labels") or {}).get("edgectl-made-by") == "edgectl"
    return made and all(name.startswith(function_module("")) for name in taken)


def _named(devices: Sequence[str]) -> str:
    shown = ", ".join(f"'{device}'" for device in sorted(devices)[:5])
    return shown + (f" and {len(devices) - 5} more" if len(devices) > 5 else "")
