"""Many actions at a time end exactly as one after the other does."""

from __future__ import annotations

import functools
import sqlite3
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_selfhosted.hub.errors import HubError
from edgectl_selfhosted.hub.store import actions, crowds, targets
from edgectl_selfhosted.hub.store.rows import Tx
from edgectl_selfhosted.hub.store.schema import migrate

OLD, NEW = 1, 2


class Situation(msgspec.Struct, frozen=True):
    """What a target has before: its sets, its open actions, and whether it lets everything in."""

    installed: int | None
    assigned: int | None
    open: tuple[str, ...]
    auto_confirm: bool


SITUATIONS = st.lists(
    st.builds(
        Situation,
        st.sampled_from([None, OLD, NEW]),
        st.sampled_from([None, OLD, NEW]),
        st.lists(
            st.sampled_from([actions.RUNNING, actions.RETRIEVED, actions.CANCELING]), max_size=2
        ).map(tuple),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@functools.cache
def two_sets() -> bytes:
    """Return a database with two complete sets."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    migrate(conn, 1)
    tx = Tx(conn, 1_000, "tester")
    module = tx.insert_audited("module", {"type_id": 2, "name": "m", "version": "1"})
    for id_ in (OLD, NEW):
        tx.insert_audited("dset", {"id": id_, "type_id": 2, "name": "s", "version": str(id_)})
        tx.conn.execute("INSERT INTO dset_module VALUES (?, ?)", (id_, module))
    return conn.serialize()


def store(situations: list[Situation]) -> Tx:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.deserialize(two_sets())
    tx = Tx(conn, 1_000, "tester")
    for number, found in enumerate(situations, start=1):
        target = targets.create(
            tx, targets.NewTarget(controller_id=f"t{number}", name="t", token="t" * 32)
        )
        values = {
            "installed_ds": found.installed,
            "assigned_ds": found.assigned,
            "auto_confirm": found.auto_confirm,
        }
        tx.update("target", target.id, values)
        for status in found.open:
            id_ = actions.create(tx, target.id, OLD, actions.Assignment())
            tx.update("action", id_, {"status": status, "active": 1})
    tx.touched.clear()
    return tx


def picture(tx: Tx) -> dict[str, list[Any]]:
    """Return all that may have changed."""
    said = "SELECT action_id, status, code, reported_at, occurred_at, messages FROM action_status"
    return {
        "actions": tx.conn.execute("SELECT * FROM action ORDER BY id").fetchall(),
        "said": tx.conn.execute(f"{said} ORDER BY action_id, id").fetchall(),
        "targets": tx.conn.execute("SELECT * FROM target ORDER BY id").fetchall(),
        "touched": sorted(tx.touched),
    }


def create_all(tx: Tx, count: int) -> list[int]:
    return [actions.create(tx, id_, NEW, actions.Assignment()) for id_ in range(1, count + 1)]


@settings(max_examples=40, deadline=None)
@given(SITUATIONS, st.booleans())
def test_opening_many_is_opening_each(situations: list[Situation], confirm: bool) -> None:
    one, many = store(situations), store(situations)
    for id_ in create_all(one, len(situations)):
        action = actions.get(one.conn, id_)
        actions.begin(one, targets.by_id(one.conn, action.target_id), action, confirm=confirm)
    ids = create_all(many, len(situations))
    crowds.begin(many, ids, confirm=confirm, skip_installed=False)
    assert picture(many) == picture(one)


def test_target_that_runs_the_set_is_closed_and_not_asked_again() -> None:
    tx = store([Situation(NEW, NEW, (), False), Situation(NEW, OLD, (), False)])
    crowds.begin(tx, create_all(tx, 2), confirm=False, skip_installed=True)
    rows = tx.conn.execute("SELECT status, active FROM action ORDER BY id").fetchall()
    assert rows == [(actions.FINISHED, 0), (actions.RUNNING, 1)]


@settings(max_examples=20, deadline=None)
@given(SITUATIONS)
def test_assigning_leaves_alone_who_has_the_set(situations: list[Situation]) -> None:
    tx = store(situations)
    ids = list(range(1, len(situations) + 1))
    made, already = crowds.assign(tx, NEW, [*ids, *ids, 99], actions.Assignment())
    has = [id_ for id_, found in zip(ids, situations, strict=True) if found.assigned == NEW]
    assert already == has
    assert len(made) == len(ids) - len(has)
    assert tx.conn.execute("SELECT count(*) FROM target WHERE assigned_ds IS NOT 2").fetchone() == (
        0,
    )


def test_assigning_to_a_type_that_does_not_take_the_set_is_refused() -> None:
    tx = store([Situation(None, None, (), False)])
    type_ = tx.insert_audited("target_type", {"key": "k", "name": "k"})
    tx.conn.execute("INSERT INTO target_type_set_type VALUES (?, 1)", (type_,))
    tx.update("target", 1, {"type_id": type_})
    with pytest.raises(HubError, match="'t1' has a type that does not take"):
        crowds.assign(tx, NEW, [1], actions.Assignment())


def test_group_is_scheduled_for_its_members_and_called_off_again() -> None:
    tx = store([Situation(None, None, (), False)] * 3)
    rollout = tx.insert_audited(
        "rollout",
        {
            "name": "r",
            "status": "running",
            "ds_id": NEW,
            "query": "name==*",
            "force_type": "forced",
            "total_targets": 2,
        },
    )
    group = tx.insert_audited(
        "rollout_group",
        {
            "rollout_id": rollout,
            "position": 0,
            "name": "g",
            "status": "ready",
            "query": "",
            "percentage": 100,
            "success_threshold": 50,
            "success_action": "NEXTGROUP",
            "error_threshold": 50,
        },
    )
    tx.conn.executemany("INSERT INTO rollout_target VALUES (?, ?)", [(group, 1), (group, 3)])
    how = actions.Assignment(force_type="soft", weight=7, rollout_id=rollout, group_id=group)
    crowds.schedule(tx, NEW, how)
    waiting = crowds.scheduled_in(tx, group)
    found = [actions.get(tx.conn, id_) for id_ in waiting]
    assert [(a.target_id, a.status, a.active, a.force_type, a.weight) for a in found] == [
        (1, actions.SCHEDULED, False, "soft", 7),
        (3, actions.SCHEDULED, False, "soft", 7),
    ]
    assert actions.messages(tx.conn, waiting[0], -1) == ["Waits for its group."]
    crowds.drop_scheduled(tx, rollout, "Enough.")
    assert crowds.scheduled_in(tx, group) == []
    assert actions.get(tx.conn, waiting[1]).status == actions.CANCELED
    assert actions.messages(tx.conn, waiting[1], -1) == ["Enough.", "Waits for its group."]
    assert tx.wake
