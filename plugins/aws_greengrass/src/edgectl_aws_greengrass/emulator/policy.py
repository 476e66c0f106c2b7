"""Evaluation of policy documents: IAM's and, with its own variables, AWS IoT's.

An explicit deny wins, then any allow, else nothing is allowed (IAM user guide, policy evaluation
logic). A condition operator that is not known here never lets anything pass and never spares from
a deny, so that a policy cannot seem to work by our ignorance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

Document = Mapping[str, Any]

_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def allows(
    documents: Iterable[Document],
    action: str,
    resource: str | None,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Say whether policies allow an action on a resource.

    Args:
        documents: The policies of the one who asks.
        action: ``service:Operation``.
        resource: ARN; None when it cannot be known, which any resource pattern then matches.
        context: Condition keys and policy variables, in lower case.
    """
    allowed = False
    for statement in _statements(documents):
        if not _concerns(statement, action, resource, context or {}):
            continue
        deny = statement.get("Effect") == "Deny"
        met = _conditions_met(statement.get("Condition") or {}, context or {}, unknown=deny)
        if not met:
            continue
        if deny:
            return False
        allowed = True
    return allowed


def _statements(documents: Iterable[Document]) -> Iterable[Document]:
    for document in documents:
        found = document.get("Statement", [])
        yield from [found] if isinstance(found, Mapping) else found


def _concerns(
    statement: Document, action: str, resource: str | None, context: Mapping[str, str]
) -> bool:
    if "NotAction" in statement:
        if _any(statement["NotAction"], action.lower(), context, lower=True):
            return False
    elif not _any(statement.get("Action", ()), action.lower(), context, lower=True):
        return False
    if resource is None or not {"Resource", "NotResource"} & set(statement):
        return True
    if "NotResource" in statement:
        return not _any(statement["NotResource"], resource, context)
    return _any(statement["Resource"], resource, context)


def _any(patterns: Any, value: str, context: Mapping[str, str], *, lower: bool = False) -> bool:
    wanted = [patterns] if isinstance(patterns, str) else patterns
    for pattern in wanted:
        filled = _fill(pattern, context)
        if filled is not None and matches(filled.lower() if lower else filled, value):
            return True
    return False


def _fill(pattern: str, context: Mapping[str, str]) -> str | None:
    """Put variables in; None when one has no value, so that the pattern matches nothing."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name = match.group(1)
        if name in {"*", "?", "$"}:
            return {"*": "[*]", "?": "[?]", "$": "$"}[name]
        found = context.get(name.lower())
        missing = missing or found is None
        return found or ""

    filled = _VARIABLE.sub(value, pattern)
    return None if missing else filled


def matches(pattern: str, value: str) -> bool:
    """Match ``*`` and ``?``; ``[*]`` and ``[?]`` stand for the characters themselves."""
    return _compiled(pattern).fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\[\*\]|\[\?\]|\*|\?)", pattern)
    words = {"*": ".*", "?": ".", "[*]": r"\*", "[?]": r"\?"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _conditions_met(
    conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str], *, unknown: bool
) -> bool:
    return all(
        _condition_met(operator, key, expected, context, unknown=unknown)
        for operator, keys in conditions.items()
        for key, expected in keys.items()
    )


def _condition_met(
    operator: str, key: str, expected: Any, context: Mapping[str, str], *, unknown: bool
) -> bool:
    name = operator.removesuffix("IfExists")
    actual = context.get(key.lower())
    values = [str(v) for v in (expected if isinstance(expected, list) else [expected])]
    if name == "Null":
        return (actual is None) == (values[0].lower() == "true")
    if actual is None:
        return operator.endswith("IfExists") or "Not" in name
    test = _OPERATORS.get(name.replace("Not", ""))
    if test is None:
        return unknown
    found = any(test(value, actual) for value in values)
    return found != ("Not" in name)


def _same(expected: str, actual: str) -> bool:
    return expected == actual


def _same_word(expected: str, actual: str) -> bool:
    return expected.lower() == actual.lower()


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": _same,
    "StringEqualsIgnoreCase": _same_word,
    "StringLike": matches,
    "ArnEquals": matches,
    "ArnLike": matches,
    "Bool": _same_word,
}
