"""Which fields a filter or a sort may name, per entity; names are hawkBit's, in lower case."""

from __future__ import annotations

from edgectl_selfhosted.hub.fiql_sql import Field, Fields, Type


def _text(column: str) -> Field:
    return Field(column=column)


def _number(column: str) -> Field:
    return Field(column=column, type=Type.NUMBER)


def _flag(column: str) -> Field:
    return Field(column=column, type=Type.FLAG)


def _inside(body: str, column: str, type_: Type = Type.TEXT, *, keyed: bool = False) -> Field:
    return Field(
        column=column,
        type=type_,
        inside=f"EXISTS (SELECT 1 FROM {body} AND {{condition}})",  # noqa: S608 - ours
        keyed=keyed,
    )


def _audit(table: str) -> dict[str, Field]:
    return {
        "createdat": _number(f"{table}.created_at"),
        "createdby": _text(f"{table}.created_by"),
        "lastmodifiedat": _number(f"{table}.modified_at"),
        "lastmodifiedby": _text(f"{table}.modified_by"),
    }


def _named(table: str) -> dict[str, Field]:
    return {
        "id": _number(f"{table}.id"),
        "name": _text(f"{table}.name"),
        "description": _text(f"{table}.description"),
        **_audit(table),
    }


def _metadata(table: str) -> Field:
    body = f"{table}_metadata md WHERE md.owner_id = {table}.id AND md.key = ?"
    return _inside(body, "md.value", keyed=True)


def _dset(column: str, of: str) -> Field:
    return _inside(f"dset d WHERE d.id = {of}", f"d.{column}")


def _tag(table: str) -> Field:
    body = f"{table}_tag tt JOIN tag g ON g.id = tt.tag_id WHERE tt.owner_id = {table}.id"
    return _inside(body, "g.name")


TARGET: Fields = {
    **_named("target"),
    "id": _text("target.controller_id"),
    "controllerid": _text("target.controller_id"),
    "updatestatus": _text("target.update_status"),
    "ipaddress": _text("target.ip"),
    "address": _text("target.address"),
    "lastcontrollerrequestat": _number("target.last_seen_at"),
    "installedat": _number("target.installed_at"),
    "requestattributes": _flag("target.request_attributes"),
    "attribute": _inside(
        "target_attribute ta WHERE ta.target_id = target.id AND ta.key = ?", "ta.value", keyed=True
    ),
    "metadata": _metadata("target"),
    "tag": _tag("target"),
    "tag.name": _tag("target"),
    "assignedds.name": _dset("name", "target.assigned_ds"),
    "assignedds.version": _dset("version", "target.assigned_ds"),
    "installedds.name": _dset("name", "target.installed_ds"),
    "installedds.version": _dset("version", "target.installed_ds"),
    "targettype.id": _number("target.type_id"),
    "targettype.name": _inside("target_type y WHERE y.id = target.type_id", "y.name"),
    "targettype.key": _inside("target_type y WHERE y.id = target.type_id", "y.key"),
    "group.id": _inside(
        "rollout_target rt WHERE rt.target_id = target.id", "rt.group_id", Type.NUMBER
    ),
}

TAG: Fields = {**_named("tag"), "colour": _text("tag.colour")}

TARGET_FILTER: Fields = {
    **_named("target_filter"),
    "description": _text("target_filter.name"),
    "query": _text("target_filter.query"),
    "autoassigndistributionset.name": _dset("name", "target_filter.auto_ds"),
    "autoassigndistributionset.version": _dset("version", "target_filter.auto_ds"),
}


def _typed(table: str) -> dict[str, Field]:
    return {**_named(table), "key": _text(f"{table}.key"), "colour": _text(f"{table}.colour")}


TARGET_TYPE: Fields = _typed("target_type")
MODULE_TYPE: Fields = {
    **_typed("module_type"),
    "maxassignments": _number("module_type.max_assignments"),
}
SET_TYPE: Fields = _typed("set_type")

_MODULE_TYPE_OF = "module_type mt WHERE mt.id = module.type_id"
MODULE: Fields = {
    **_named("module"),
    "version": _text("module.version"),
    "vendor": _text("module.vendor"),
    "type": _inside(_MODULE_TYPE_OF, "mt.key"),
    "type.key": _inside(_MODULE_TYPE_OF, "mt.key"),
    "type.name": _inside(_MODULE_TYPE_OF, "mt.name"),
    "metadata": _metadata("module"),
}

_SET_TYPE_OF = "set_type st WHERE st.id = dset.type_id"
_MODULES_OF = "dset_module dm JOIN module m ON m.id = dm.module_id WHERE dm.ds_id = dset.id"
DSET: Fields = {
    **_named("dset"),
    "version": _text("dset.version"),
    "type": _inside(_SET_TYPE_OF, "st.key"),
    "type.key": _inside(_SET_TYPE_OF, "st.key"),
    "type.name": _inside(_SET_TYPE_OF, "st.name"),
    "valid": _flag("dset.valid"),
    "locked": _flag("dset.locked"),
    "module.id": _inside(_MODULES_OF, "m.id", Type.NUMBER),
    "module.name": _inside(_MODULES_OF, "m.name"),
    "metadata": _metadata("dset"),
    "tag": _tag("dset"),
    "tag.name": _tag("dset"),
}

_TARGET_OF = "target t WHERE t.id = action.target_id"
_ROLLOUT_OF = "rollout r WHERE r.id = action.rollout_id"
ACTION: Fields = {
    "id": _number("action.id"),
    **_audit("action"),
    "active": _flag("action.active"),
    "status": Field(column="CASE action.active WHEN 1 THEN 'pending' ELSE 'finished' END"),
    "detailstatus": _text("action.status"),
    "weight": _number("action.weight"),
    "laststatuscode": _number("action.last_status_code"),
    "externalref": _text("action.external_ref"),
    "target.controllerid": _inside(_TARGET_OF, "t.controller_id"),
    "target.name": _inside(_TARGET_OF, "t.name"),
    "target.updatestatus": _inside(_TARGET_OF, "t.update_status"),
    "distributionset.id": _number("action.ds_id"),
    "distributionset.name": _dset("name", "action.ds_id"),
    "distributionset.version": _dset("version", "action.ds_id"),
    "rollout.id": _number("action.rollout_id"),
    "rollout.name": _inside(_ROLLOUT_OF, "r.name"),
    "rolloutgroup.id": _number("action.group_id"),
}

ACTION_STATUS: Fields = {
    "id": _number("action_status.id"),
    "reportedat": _number("action_status.reported_at"),
    "timestamp": _number("action_status.occurred_at"),
}

ROLLOUT: Fields = {
    **_named("rollout"),
    "status": _text("rollout.status"),
    "distributionset.id": _number("rollout.ds_id"),
    "distributionset.name": _dset("name", "rollout.ds_id"),
    "distributionset.version": _dset("version", "rollout.ds_id"),
}
ROLLOUT_GROUP: Fields = {
    **_named("rollout_group"),
    "status": _text("rollout_group.status"),
}


def metadata_fields(table: str) -> Fields:
    """Return the fields of an entity's metadata."""
    return {"key": _text(f"{table}.key"), "value": _text(f"{table}.value")}
