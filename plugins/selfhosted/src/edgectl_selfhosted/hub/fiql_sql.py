"""A filter's syntax tree to an SQL condition.

Every value is a bound parameter and every piece of SQL comes from the tables of fields below, so
a filter cannot say anything in SQL. Text compares without regard to case, as hawkBit's default.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from edgectl_selfhosted.hub import fiql
from edgectl_selfhosted.hub.errors import Fault, HubError

Param = str | int | None


class Type(enum.Enum):
    """How values of a field compare."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """How a field is found in the database.

    Attributes:
        column: The SQL expression to compare.
        inside: For what lies in another table: an ``EXISTS (… {condition})`` text.
        keyed: The field is written ``name.KEY``; ``inside`` takes the key as first parameter.
    """

    column: str
    type: Type = Type.TEXT
    inside: str = ""
    keyed: bool = False


Fields = Mapping[str, Field]


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """An SQL condition and its parameters."""

    sql: str
    params: tuple[Param, ...] = ()


ALWAYS = Condition(sql="1")


def compile_query(text: str, fields: Fields, placeholders: Mapping[str, int]) -> Condition:
    """Turn the text of a filter into an SQL condition; the empty text holds always.

    Args:
        text: What the client sent as ``q``.
        fields: What may be asked for, by lower-case name.
        placeholders: Values of ``${NOW_TS}`` and the like.

    Raises:
        HubError: ``QUERY_SYNTAX`` or ``QUERY_FIELD``.
    """
    if not text.strip():
        return ALWAYS
    try:
        node = fiql.parse(text)
    except fiql.FiqlError as exc:
        raise HubError(Fault.QUERY_SYNTAX, f"the filter cannot be read: {exc}") from exc
    return _compile(node, fields, placeholders)


def both(*conditions: Condition) -> Condition:
    """Return the condition that all of these hold."""
    return Condition(
        sql=" AND ".join(f"({c.sql})" for c in conditions),
        params=tuple(p for c in conditions for p in c.params),
    )


def _compile(node: fiql.Node, fields: Fields, placeholders: Mapping[str, int]) -> Condition:
    match node:
        case fiql.Both(parts=parts):
            return both(*(_compile(part, fields, placeholders) for part in parts))
        case fiql.Either(parts=parts):
            found = [_compile(part, fields, placeholders) for part in parts]
            return Condition(
                sql=" OR ".join(f"({c.sql})" for c in found),
                params=tuple(p for c in found for p in c.params),
            )
        case fiql.Comparison():
            return _comparison(node, fields, placeholders)


def _comparison(
    node: fiql.Comparison, fields: Fields, placeholders: Mapping[str, int]
) -> Condition:
    field, key = _field(node.field, fields)
    negative = node.op in {"!=", "out"}
    op = {"!=": "==", "out": "in"}.get(node.op, node.op)
    values = [_value(value, field, node.field, placeholders) for value in node.values]
    parts = [_compare(field, op, value) for value in values]
    condition = Condition(
        sql=" OR ".join(part.sql for part in parts),
        params=tuple(p for part in parts for p in part.params),
    )
    if field.inside:
        inner = field.inside.format(condition=f"({condition.sql})")
        condition = Condition(sql=inner, params=(*key, *condition.params))
    elif negative:
        # SQL's NOT of an unknown is unknown; an absent value is different from every value.
        condition = Condition(sql=f"coalesce({condition.sql}, 0)", params=condition.params)
    return (
        Condition(sql=f"NOT ({condition.sql})", params=condition.params) if negative else condition
    )


def _field(name: str, fields: Fields) -> tuple[Field, tuple[str, ...]]:
    known = fields.get(name.lower())
    if known is not None and not known.keyed:
        return known, ()
    head, dot, key = name.partition(".")
    keyed = fields.get(head.lower())
    if keyed is not None and keyed.keyed and dot and key:
        return keyed, (key,)
    raise HubError(
        Fault.QUERY_FIELD,
        f"the field '{name[:100]}' is not known; known are "
        + ", ".join(f"{n}.KEY" if f.keyed else n for n, f in sorted(fields.items())),
    )


def _value(text: str, field: Field, name: str, placeholders: Mapping[str, int]) -> Param:
    if text.startswith("${") and text.endswith("}"):
        found = placeholders.get(text[2:-1].upper())
        if found is not None:
            return found
    if text.lower() == "null":
        return None
    match field.type:
        case Type.TEXT:
            return text
        case Type.FLAG if text.lower() in {"true", "false"}:
            return int(text.lower() == "true")
        case Type.NUMBER if _is_integer(text):
            return int(text)
    raise HubError(
        Fault.QUERY_SYNTAX,
        f"'{text[:100]}' is not a value of the field '{name}' ({field.type.value})",
    )


def _is_integer(text: str) -> bool:
    return len(text) <= 18 and text.isascii() and text.removeprefix("-").isdigit()


def _compare(field: Field, op: str, value: Param) -> Condition:
    if value is None:
        return Condition(sql=f"{field.column} IS NULL")
    if field.type is not Type.TEXT or not isinstance(value, str):
        return Condition(
            sql=f"{field.column} {'=' if op in {'==', 'in'} else op} ?", params=(value,)
        )
    if op not in {"==", "in"}:
        return Condition(sql=f"{field.column} {op} ?", params=(value.replace("\\*", "*"),))
    if "*" in value.replace("\\*", ""):
        return Condition(sql=f"{field.column} LIKE ? ESCAPE '\\'", params=(like(value),))
    plain = value.replace("\\*", "*")
    return Condition(sql=f"{field.column} = ? COLLATE NOCASE", params=(plain,))


def like(value: str) -> str:
    """Turn ``*`` wildcards into a LIKE pattern with backslash as its escape."""
    escaped = value.replace("\\*", "\0").replace("\\", "\\\\")
    escaped = escaped.replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("\0", "*")


def order_by(text: str, fields: Fields, default: str) -> str:
    """Turn ``sort=field:ASC,field:DESC`` into an ORDER BY list.

    Raises:
        HubError: ``SORT_SYNTAX``, ``SORT_FIELD`` or ``SORT_DIRECTION``.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 10:
        raise HubError(Fault.SORT_SYNTAX, "at most 10 sort fields are allowed")
    return ", ".join([*(_order(part, fields) for part in parts), default])


def _order(part: str, fields: Fields) -> str:
    name, colon, direction = part.partition(":")
    if not colon:
        raise HubError(
            Fault.SORT_SYNTAX, f"'{part[:100]}' is not of the form field:ASC or field:DESC"
        )
    field = fields.get(name.lower())
    if field is None or field.inside:
        raise HubError(Fault.SORT_FIELD, f"the field '{name[:100]}' cannot be sorted by")
    if direction.upper() not in {"ASC", "DESC"}:
        raise HubError(Fault.SORT_DIRECTION, f"'{direction[:20]}' is neither ASC nor DESC")
    return f"{field.column} {direction.upper()}"
