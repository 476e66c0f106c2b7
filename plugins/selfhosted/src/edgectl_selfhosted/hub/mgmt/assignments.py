"""Assignments: a set for targets, from either end."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.http import Json, answer, base_url, body, hub_of, link, path_id
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.mgmt.targets import controller_id_of
from edgectl_selfhosted.hub.store import actions, crowds, sets, settings, targets
from edgectl_selfhosted.hub.store.rows import Tx

Wish = bodies.SetAssignment | bodies.TargetAssignment


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    made: list[actions.Action]
    already: int


def _how(request: Request, wish: Wish) -> actions.Assignment:
    if wish.maintenance_window is not None:
        raise HubError(Fault.CONSTRAINT, "maintenance windows are not supported by this hub")
    flow = hub_of(request).settings.flag(settings.CONFIRMATION)
    return actions.Assignment(
        force_type=wish.type,
        force_time=wish.forcetime,
        weight=wish.weight,
        confirm=flow and wish.confirmation_required is not False,
    )


def _assign(
    request: Request, tx: Tx, ds_id: int, controller_ids: dict[str, Wish], *, offline: bool
) -> _Outcome:
    known = targets.ids_of(tx.conn, controller_ids)
    made: list[int] = []
    already = 0
    if offline:
        why = "An operator reported it as installed."
        for controller_id in known:
            target = targets.get(tx.conn, controller_id)
            made.append(actions.installed_offline(tx, target, ds_id, why))
    else:
        alike: dict[actions.Assignment, list[int]] = {}
        for controller_id, wish in controller_ids.items():
            if controller_id in known:
                alike.setdefault(_how(request, wish), []).append(known[controller_id])
        for how, target_ids in alike.items():
            new, has = crowds.assign(tx, ds_id, target_ids, how)
            made += new
            already += len(has)
    return _Outcome(made=[actions.get(tx.conn, id_) for id_ in made], already=already)


def _shown(request: Request, outcome: _Outcome) -> Json:
    base = base_url(request)
    return {
        "alreadyAssigned": outcome.already,
        "assigned": len(outcome.made),
        "total": len(outcome.made) + outcome.already,
        "assignedActions": [
            {
                "id": action.id,
                "_links": {
                    "self": link(
                        f"{documents.target_url(base, action.controller_id)}/actions/{action.id}"
                    )
                },
            }
            for action in outcome.made
        ],
    }


def _offline(request: Request) -> bool:
    return request.query_params.get("offline", "false").lower() == "true"


async def to_targets(request: Request) -> Response:
    """Give a set to targets; those that do not exist are passed over, as hawkBit does."""
    ds_id = path_id(request, "set")
    sent = await body(request, list[bodies.TargetAssignment])
    hub = hub_of(request)
    limit = hub.config.quotas.targets_per_request
    if len(sent) > limit:
        raise HubError(Fault.QUOTA, f"at most {limit} targets are assigned at once")
    wishes: dict[str, Wish] = {wish.id: wish for wish in sent}

    def work(tx: Tx) -> _Outcome:
        sets.check_assignable(tx.conn, ds_id)
        return _assign(request, tx, ds_id, wishes, offline=_offline(request))

    return answer(request, _shown(request, await hub.write(work)))


async def to_one_target(request: Request) -> Response:
    """Give a target a set; the body is one assignment or a list of one."""
    controller_id = controller_id_of(request)
    sent = await body(request, bodies.SetAssignment | list[bodies.SetAssignment])  # type: ignore[arg-type]  # msgspec takes a union as a type
    wishes: list[bodies.SetAssignment] = sent if isinstance(sent, list) else [sent]
    if len(wishes) != 1:
        raise HubError(
            Fault.CONSTRAINT, "a target takes one distribution set: multi-assignment is off"
        )

    def work(tx: Tx) -> _Outcome:
        targets.get(tx.conn, controller_id)
        wish = wishes[0]
        return _assign(request, tx, wish.id, {controller_id: wish}, offline=_offline(request))

    return answer(request, _shown(request, await hub_of(request).write(work)))


ROUTES = [
    Route("/rest/v1/distributionsets/{set}/assignedTargets", to_targets, methods=["POST"]),
    Route("/rest/v1/targets/{target}/assignedDS", to_one_target, methods=["POST"]),
]
