"""Which targets a new rollout's groups get.

Equal groups split all matches. Groups that are given one by one each take their percentage of
what matches them and is left; together they must take every match, as in hawkBit.
"""

from __future__ import annotations

import math
import sqlite3

from edgectl_selfhosted.hub.config import Quotas
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.mgmt import bodies
from edgectl_selfhosted.hub.mgmt.filters import check_filter
from edgectl_selfhosted.hub.rollouts import split
from edgectl_selfhosted.hub.store import fields
from edgectl_selfhosted.hub.store.paging import matching
from edgectl_selfhosted.hub.store.rollouts import NewGroup

_SUCCESS = bodies.Condition(expression="50")
_ERROR = bodies.Condition(expression="50")


def new_groups(
    conn: sqlite3.Connection, sent: bodies.RolloutPost, quotas: Quotas, *, overdue_ms: int
) -> list[NewGroup]:
    """Return the groups of a rollout with their members.

    Raises:
        HubError: ``CONSTRAINT`` when nothing matches or the groups do not take every match,
            ``QUOTA`` for too many groups or too large ones.
    """

    def find(text: str) -> list[int]:
        return matching(conn, text, table="target", fields=fields.TARGET, overdue_ms=overdue_ms)

    everyone = find(sent.target_filter_query)
    if not everyone:
        raise HubError(Fault.CONSTRAINT, "the rollout's filter does not match any target")
    if (sent.amount_groups is None) == (not sent.groups):
        raise HubError(Fault.CONSTRAINT, "a rollout has either 'amountGroups' or 'groups'")
    if sent.groups:
        filters = {
            g.target_filter_query: set(find(check_filter(g.target_filter_query)))
            for g in sent.groups
            if g.target_filter_query.strip()
        }
        groups = _given(sent, sent.groups, everyone, filters)
    else:
        groups = _equal(sent, everyone, sent.amount_groups or 0)
    _check_quota(groups, quotas)
    return groups


def one_group(members: list[int], quotas: Quotas) -> NewGroup:
    """Return a single group.

    Raises:
        HubError: It has no members, or too many.
    """
    if not members:
        raise HubError(Fault.CONSTRAINT, "the rollout has no target to try again")
    group = NewGroup(name="group-1", members=tuple(members))
    _check_quota([group], quotas)
    return group


def _equal(sent: bodies.RolloutPost, everyone: list[int], amount: int) -> list[NewGroup]:
    if amount < 1:
        raise HubError(Fault.CONSTRAINT, "a rollout has at least one group")
    found = []
    start = 0
    for number, size in enumerate(split(len(everyone), amount), start=1):
        members = tuple(everyone[start : start + size])
        group = bodies.GroupBody(name=f"group-{number}")
        percentage = 100 * size / (len(everyone) - start)
        found.append(_group(sent, group, members, percentage))
        start += size
    return found


def _given(
    sent: bodies.RolloutPost,
    groups: list[bodies.GroupBody],
    everyone: list[int],
    filters: dict[str, set[int]],
) -> list[NewGroup]:
    left = everyone
    found = []
    for group in groups:
        allowed = filters.get(group.target_filter_query)
        fitting = left if allowed is None else [id_ for id_ in left if id_ in allowed]
        size = math.floor(group.target_percentage / 100 * len(fitting) + 0.5)
        members = fitting[:size]
        taken = set(members)
        left = [id_ for id_ in left if id_ not in taken]
        found.append(_group(sent, group, tuple(members), group.target_percentage))
    if left:
        raise HubError(
            Fault.CONSTRAINT,
            f"the rollout's groups leave {len(left)} of {len(everyone)} targets out; the last "
            "group needs targetPercentage 100",
        )
    return found


def _group(
    sent: bodies.RolloutPost,
    group: bodies.GroupBody,
    members: tuple[int, ...],
    percentage: float,
) -> NewGroup:
    confirm = group.confirmation_required
    if confirm is None:
        confirm = sent.confirmation_required is not False
    action = group.success_action or sent.success_action or bodies.SuccessAction()
    return NewGroup(
        name=group.name,
        description=group.description or group.name,
        query=group.target_filter_query,
        percentage=percentage,
        success_threshold=_percent(group.success_condition or sent.success_condition or _SUCCESS),
        success_action=action.action,
        error_threshold=_percent(group.error_condition or sent.error_condition or _ERROR),
        confirmation_required=confirm,
        members=members,
    )


def _percent(condition: bodies.Condition) -> int:
    text = condition.expression.strip()
    if text.isascii() and text.isdigit() and int(text[:6]) <= 100 and len(text) <= 6:
        return int(text)
    raise HubError(Fault.CONSTRAINT, f"'{text[:20]}' is not a threshold from 0 to 100 percent")


def _check_quota(groups: list[NewGroup], quotas: Quotas) -> None:
    if len(groups) > quotas.groups_per_rollout:
        raise HubError(Fault.QUOTA, f"a rollout has at most {quotas.groups_per_rollout} groups")
    largest = max(len(group.members) for group in groups)
    if largest > quotas.targets_per_group:
        raise HubError(
            Fault.QUOTA,
            f"a group has at most {quotas.targets_per_group} targets, one has {largest}",
        )
