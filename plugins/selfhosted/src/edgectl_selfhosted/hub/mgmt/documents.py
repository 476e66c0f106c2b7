"""What operators are shown: one function an entity, from its record to hawkBit's document."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from edgectl_selfhosted.hub.http import Json, compact, link
from edgectl_selfhosted.hub.store import actions, filters, modules, rollouts, sets, tags, types
from edgectl_selfhosted.hub.store.metadata import Metadata
from edgectl_selfhosted.hub.store.rows import Audited
from edgectl_selfhosted.hub.store.targets import Target

AnyType = types.ModuleType | types.SetType | types.TargetType


def rest(base: str) -> str:
    """Return the root of the management interface."""
    return f"{base}/rest/v1"


def target_url(base: str, controller_id: str) -> str:
    """Return a target's address."""
    return f"{rest(base)}/targets/{quote(controller_id, safe='')}"


def _audit(entity: Audited) -> Json:
    return {
        "createdBy": entity.created_by,
        "createdAt": entity.created_at,
        "lastModifiedBy": entity.modified_by,
        "lastModifiedAt": entity.modified_at,
    }


def target(
    entity: Target,
    base: str,
    *,
    seen: tuple[int, str] | None,
    poll_ms: int,
    overdue_ms: int,
    now_ms: int,
    type_name: str | None = None,
    confirmation: bool = False,
) -> Json:
    """Return a ``MgmtTarget``; ``seen`` is a sighting newer than the record's."""
    at, ip = seen or (entity.last_seen_at, entity.ip)
    url = target_url(base, entity.controller_id)
    return compact(
        {
            **_audit(entity),
            "name": entity.name,
            "description": entity.description,
            "controllerId": entity.controller_id,
            "updateStatus": entity.update_status,
            "lastControllerRequestAt": at,
            "installedAt": entity.installed_at,
            "ipAddress": ip or None,
            "address": entity.address or (f"http://{ip}" if ip else None),
            "pollStatus": _poll_status(at, poll_ms, overdue_ms, now_ms),
            "securityToken": entity.token,
            "requestAttributes": entity.request_attributes,
            "targetType": entity.type_id,
            "targetTypeName": type_name,
            "autoConfirmActive": entity.auto_confirm if confirmation else None,
            "_links": _target_links(url),
        }
    )


def _target_links(url: str) -> Json:
    return {
        "self": link(url),
        "assignedDS": link(f"{url}/assignedDS"),
        "installedDS": link(f"{url}/installedDS"),
        "attributes": link(f"{url}/attributes"),
        "actions": link(f"{url}/actions?offset=0&limit=50&sort=id%3ADESC"),
        "metadata": link(f"{url}/metadata?offset=0&limit=50"),
        "autoConfirm": link(f"{url}/autoConfirm"),
    }


def _poll_status(at: int | None, poll_ms: int, overdue_ms: int, now_ms: int) -> Json | None:
    if at is None:
        return None
    expected = at + poll_ms
    return {
        "lastRequestAt": at,
        "nextExpectedRequestAt": expected,
        "overdue": now_ms > expected + overdue_ms,
    }


def action(entity: actions.Action, base: str) -> Json:
    """Return a ``MgmtAction``."""
    owner = target_url(base, entity.controller_id)
    url = f"{owner}/actions/{entity.id}"
    links: Json = {
        "self": link(url),
        "target": link(owner, entity.controller_id),
        "distributionset": link(f"{rest(base)}/distributionsets/{entity.ds_id}", entity.ds_title),
        "status": link(f"{url}/status?offset=0&limit=50&sort=id%3ADESC"),
    }
    if entity.rollout_id is not None:
        links["rollout"] = link(f"{rest(base)}/rollouts/{entity.rollout_id}", entity.rollout_name)
    if entity.is_canceling:
        links["canceledaction"] = link(url)
    is_open = entity.active or entity.status == actions.SCHEDULED
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "type": "cancel" if entity.is_canceling else "update",
            "status": "pending" if is_open else "finished",
            "detailStatus": entity.status,
            "forceType": entity.force_type,
            "forceTime": entity.force_time,
            "weight": entity.weight,
            "rollout": entity.rollout_id,
            "rolloutName": entity.rollout_name,
            "lastStatusCode": entity.last_status_code,
            "externalRef": entity.external_ref,
            "_links": links,
        }
    )


def action_status(entity: actions.ActionStatus) -> Json:
    """Return a ``MgmtActionStatus``."""
    return compact(
        {
            "id": entity.id,
            "type": entity.status,
            "messages": entity.messages,
            "reportedAt": entity.reported_at,
            "timestamp": entity.occurred_at,
            "code": entity.code,
        }
    )


def tag(entity: tags.Tag, base: str) -> Json:
    """Return a ``MgmtTag``."""
    path = "targettags" if entity.kind == "target" else "distributionsettags"
    url = f"{rest(base)}/{path}/{entity.id}"
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "name": entity.name,
            "description": entity.description,
            "colour": entity.colour,
            "_links": {"self": link(url), "assigned": link(f"{url}/assigned?offset=0&limit=50")},
        }
    )


def target_filter(entity: filters.TargetFilter, base: str) -> Json:
    """Return a ``MgmtTargetFilterQuery``."""
    url = f"{rest(base)}/targetfilters/{entity.id}"
    automatic = entity.auto_ds is not None
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "name": entity.name,
            "query": entity.query,
            "autoAssignDistributionSet": entity.auto_ds,
            "autoAssignActionType": (entity.auto_type or "forced") if automatic else None,
            "autoAssignWeight": entity.auto_weight,
            "confirmationRequired": entity.confirmation_required if automatic else None,
            "_links": {"self": link(url), "autoAssignDS": link(f"{url}/autoAssignDS")},
        }
    )


def type_(entity: AnyType, base: str, path: str) -> Json:
    """Return a type's document; ``path`` is the collection's name."""
    url = f"{rest(base)}/{path}/{entity.id}"
    shown: Json = {
        **_audit(entity),
        "id": entity.id,
        "key": entity.key,
        "name": entity.name,
        "description": entity.description,
        "colour": entity.colour,
        "deleted": getattr(entity, "deleted", False),
        "_links": {"self": link(url)},
    }
    if isinstance(entity, types.ModuleType):
        shown["maxAssignments"] = entity.max_assignments
    return compact(shown)


def module(entity: modules.Module, base: str) -> Json:
    """Return a ``MgmtSoftwareModule``."""
    url = f"{rest(base)}/softwaremodules/{entity.id}"
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "name": entity.name,
            "version": entity.version,
            "type": entity.type_key,
            "typeName": entity.type_name,
            "vendor": entity.vendor,
            "description": entity.description,
            "encrypted": entity.encrypted,
            "locked": entity.locked,
            "deleted": entity.deleted,
            "_links": {
                "self": link(url),
                "artifacts": link(f"{url}/artifacts"),
                "type": link(f"{rest(base)}/softwaremoduletypes/{entity.type_id}"),
                "metadata": link(f"{url}/metadata?offset=0&limit=50"),
            },
        }
    )


def artifact(entity: modules.Artifact, base: str) -> Json:
    """Return a ``MgmtArtifact``."""
    url = f"{rest(base)}/softwaremodules/{entity.module_id}/artifacts/{entity.id}"
    return {
        **_audit(entity),
        "id": entity.id,
        "hashes": {"sha1": entity.sha1, "md5": entity.md5, "sha256": entity.sha256},
        "providedFilename": entity.filename,
        "size": entity.size,
        "_links": {"self": link(url), "download": link(f"{url}/download")},
    }


def metadata(entity: Metadata, *, of_module: bool) -> Json:
    """Return a metadata entry; a module's says whether devices see it."""
    shown: Json = {"key": entity.key, "value": entity.value}
    if of_module:
        shown["targetVisible"] = entity.visible
    return compact(shown)


def dset(entity: sets.DistributionSet, held: list[modules.Module], base: str) -> Json:
    """Return a ``MgmtDistributionSet``."""
    url = f"{rest(base)}/distributionsets/{entity.id}"
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "name": entity.name,
            "version": entity.version,
            "type": entity.type_key,
            "typeName": entity.type_name,
            "description": entity.description,
            "complete": entity.complete,
            "locked": entity.locked,
            "deleted": entity.deleted,
            "valid": entity.valid,
            "requiredMigrationStep": entity.migration,
            "modules": [module(m, base) for m in held],
            "_links": {
                "self": link(url),
                "modules": link(f"{url}/assignedSM?offset=0&limit=50"),
                "type": link(f"{rest(base)}/distributionsettypes/{entity.type_id}"),
                "metadata": link(f"{url}/metadata?offset=0&limit=50"),
            },
        }
    )


def rollout(entity: rollouts.Rollout, counts: Mapping[str, int], base: str) -> Json:
    """Return a ``MgmtRolloutResponseBody``."""
    url = f"{rest(base)}/rollouts/{entity.id}"
    verbs = ("start", "pause", "resume", "triggerNextGroup", "approve", "deny", "retry", "stop")
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "name": entity.name,
            "description": entity.description,
            "targetFilterQuery": entity.query,
            "distributionSetId": entity.ds_id,
            "status": entity.status,
            "totalTargets": entity.total_targets,
            "totalTargetsPerStatus": dict(counts),
            "totalGroups": entity.total_groups,
            "startAt": entity.start_at,
            "forcetime": entity.force_time,
            "deleted": entity.deleted,
            "type": entity.force_type,
            "weight": entity.weight,
            "dynamic": False,
            "approvalRemark": entity.approval_remark,
            "approveDecidedBy": entity.approval_by,
            "_links": {
                "self": link(url),
                **{verb: link(f"{url}/{verb}") for verb in verbs},
                "groups": link(f"{url}/deploygroups?offset=0&limit=50"),
                "distributionset": link(
                    f"{rest(base)}/distributionsets/{entity.ds_id}", entity.ds_title
                ),
            },
        }
    )


def group(entity: rollouts.Group, counts: Mapping[str, int], base: str) -> Json:
    """Return a ``MgmtRolloutGroupResponseBody``."""
    url = f"{rest(base)}/rollouts/{entity.rollout_id}/deploygroups/{entity.id}"
    return compact(
        {
            **_audit(entity),
            "id": entity.id,
            "name": entity.name,
            "description": entity.description,
            "successCondition": {
                "condition": "THRESHOLD",
                "expression": str(entity.success_threshold),
            },
            "successAction": {"action": entity.success_action, "expression": ""},
            "errorCondition": {"condition": "THRESHOLD", "expression": str(entity.error_threshold)},
            "errorAction": {"action": "PAUSE", "expression": ""},
            "targetFilterQuery": entity.query,
            "targetPercentage": entity.percentage,
            "confirmationRequired": entity.confirmation_required,
            "dynamic": False,
            "status": entity.status,
            "totalTargets": entity.total_targets,
            "totalTargetsPerStatus": dict(counts),
            "_links": {"self": link(url)},
        }
    )


_NOT_STARTED = {"creating", "ready", "waiting_for_approval", "approval_denied", "starting"}
_COUNTED = {
    actions.SCHEDULED: "scheduled",
    actions.FINISHED: "finished",
    actions.ERROR: "error",
    actions.CANCELED: "cancelled",
}


def totals(status: str, total: int, by_action: Mapping[str, int]) -> dict[str, int]:
    """Return hawkBit's ``totalTargetsPerStatus`` from the counts of actions."""
    found = dict.fromkeys(
        ("notstarted", "scheduled", "running", "finished", "error", "cancelled"), 0
    )
    for word, count in by_action.items():
        found[_COUNTED.get(word, "running")] += count
    rest_ = max(0, total - sum(found.values()))
    found["notstarted" if status in _NOT_STARTED or not by_action else "cancelled"] += rest_
    return found
