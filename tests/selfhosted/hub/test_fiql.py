"""Filters: what they mean, and that no text makes the parser or the database fail."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_selfhosted.hub import fiql
from edgectl_selfhosted.hub.errors import HubError
from edgectl_selfhosted.hub.fiql import Both, Comparison, Either, FiqlError, parse
from edgectl_selfhosted.hub.fiql_sql import compile_query, like, order_by
from edgectl_selfhosted.hub.store.fields import ACTION, DSET, MODULE, ROLLOUT, TARGET
from edgectl_selfhosted.hub.store.schema import migrate

HOLDERS = {"NOW_TS": 1}


def term(field: str, op: str, *values: str) -> Comparison:
    return Comparison(field=field, op=op, values=values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a==b", term("a", "==", "b")),
        (" a == 'b c' ", term("a", "==", "b c")),
        ("a=lt=1", term("a", "<", "1")),
        ("a=GE=1", term("a", ">=", "1")),
        ("a>=1", term("a", ">=", "1")),
        ("a=in=(b,'c,d')", term("a", "in", "b", "c,d")),
        ("a=out=b", term("a", "out", "b")),
        ("a=not=null", term("a", "!=", "null")),
        (r"a==b\*", term("a", "==", r"b\*")),
        (r'a=="b\"c"', term("a", "==", 'b"c')),
        ("attribute.hw==jetson*", term("attribute.hw", "==", "jetson*")),
        ("a==1;b==2", Both(parts=(term("a", "==", "1"), term("b", "==", "2")))),
        ("a==1 and b==2", Both(parts=(term("a", "==", "1"), term("b", "==", "2")))),
        ("a==1 OR b==2", Either(parts=(term("a", "==", "1"), term("b", "==", "2")))),
    ],
)
def test_text_becomes_a_tree(text: str, expected: fiql.Node) -> None:
    assert parse(text) == expected


def test_and_binds_closer_than_or_and_parentheses_closest() -> None:
    a, b, c = (term(x, "==", "1") for x in "abc")
    assert parse("a==1,b==1;c==1") == Either(parts=(a, Both(parts=(b, c))))
    assert parse("(a==1,b==1);c==1") == Both(parts=(Either(parts=(a, b)), c))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a=",
        "a==",
        "==b",
        "a==b;",
        "a==b)",
        "(a==b",
        "a=like=b",
        "a=in=(b",
        "a=in=()",
        "a==b c==d",
        "a=='b",
        "(" * 100 + "a==b" + ")" * 100,
        "a==b;" * 600 + "a==b",
        "a==" + "b" * 9000,
    ],
)
def test_what_is_not_fiql_is_refused(text: str) -> None:
    with pytest.raises(FiqlError):
        parse(text)


@given(st.text(max_size=300))
def test_no_text_crashes_the_parser(text: str) -> None:
    try:
        parse(text)
    except FiqlError:
        return


WORDS = "a name == != =in= =out= < >= ( ) ; , ' \" \\ * attribute.x tag createdat 1 null --"
PIECES = st.sampled_from([*WORDS.split(), " and ", " or ", "; DROP TABLE target"])


@pytest.fixture(scope="module")
def conn() -> Any:
    found = sqlite3.connect(":memory:", isolation_level=None)
    migrate(found, 1)
    row = (
        "(controller_id, name, token, token_sha256, created_at, created_by, "
        "modified_at, modified_by)"
    )
    for number, hw in enumerate(["Jetson", "rpi", "50%_x", None, "a*b"]):
        found.execute(
            f"INSERT INTO target {row} VALUES (?, ?, 't', 't', ?, 'a', 1, 'a')",
            (f"d{number}", f"dev {number}", number),
        )
        if hw:
            found.execute("INSERT INTO target_attribute VALUES (?, 'hw', ?)", (number + 1, hw))
    found.execute("UPDATE target SET description = 'x' WHERE id = 1")
    yield found
    found.close()


@given(st.lists(PIECES, max_size=25).map("".join))
def test_whatever_parses_also_runs_and_changes_nothing(conn: Any, text: str) -> None:
    for table, fields in (
        ("target", TARGET),
        ("action", ACTION),
        ("dset", DSET),
        ("module", MODULE),
        ("rollout", ROLLOUT),
    ):
        try:
            condition = compile_query(text, fields, HOLDERS)
        except HubError:
            continue
        conn.execute(f"SELECT id FROM {table} WHERE {condition.sql}", condition.params).fetchall()
    assert conn.execute("SELECT count(*) FROM target").fetchone()[0] == 5


@given(value=st.text(min_size=1, max_size=40), op=st.sampled_from(["==", "!=", "=in=", "<"]))
def test_a_value_is_never_part_of_the_sql(value: str, op: str) -> None:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    marked = compile_query(f"name{op}'{quoted}'", TARGET, {})
    plain = compile_query(f"name{op}'x'", TARGET, {})
    wild = compile_query(f"name{op}'x*'", TARGET, {})
    null = compile_query(f"name{op}'null'", TARGET, {})
    assert marked.sql in {plain.sql, wild.sql, null.sql}


def ids(conn: Any, text: str) -> list[str]:
    condition = compile_query(text, TARGET, HOLDERS)
    sql = f"SELECT controller_id FROM target WHERE {condition.sql} ORDER BY id"
    return [row[0] for row in conn.execute(sql, condition.params)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attribute.hw==jetson", "d0"),
        ("attribute.hw==j*", "d0"),
        ("attribute.hw=='50%_x'", "d2"),
        ("attribute.hw=='50%*'", "d2"),
        ("attribute.hw==5__*", ""),
        (r"attribute.hw==a\*b", "d4"),
        ("attribute.hw==*", "d0 d1 d2 d4"),
        ("attribute.hw!=rpi", "d0 d2 d3 d4"),
        ("attribute.hw=in=(rpi,jetson)", "d0 d1"),
        ("attribute.hw=out=(rpi,jetson)", "d2 d3 d4"),
        ("name=='dev 1',controllerid==d2", "d1 d2"),
        ("createdat=ge=3", "d3 d4"),
        ("createdat>1;createdat<=3", "d2 d3"),
        ("createdat==${NOW_TS}", "d1"),
        ("description==null", "d1 d2 d3 d4"),
        ("description=not=null", "d0"),
        ("description!=x", "d1 d2 d3 d4"),
        ("requestattributes==true;id==d0", "d0"),
        ("tag!=none;controllerid==D4", "d4"),
    ],
)
def test_filters_find_what_they_say(conn: Any, text: str, expected: str) -> None:
    assert ids(conn, text) == expected.split()


@given(st.text(max_size=30))
def test_like_pattern_without_wildcards_matches_only_itself(text: str) -> None:
    conn = sqlite3.connect(":memory:")
    literal = text.replace("\\", "").replace("\0", "").replace("*", "\\*")
    plain = literal.replace("\\*", "*")
    found = conn.execute("SELECT ? LIKE ? ESCAPE '\\'", (plain, like(literal))).fetchone()[0]
    assert found == 1
    assert not conn.execute("SELECT ? LIKE ? ESCAPE '\\'", (plain + "x", like(literal))).fetchone()[
        0
    ]
    conn.close()


@given(st.text(max_size=60))
def test_no_sort_text_reaches_the_sql(text: str) -> None:
    known = {f"{f.column} {d}" for f in TARGET.values() for d in ("ASC", "DESC")} | {
        "target.id ASC"
    }
    try:
        order = order_by(text, TARGET, "target.id ASC")
    except HubError:
        return
    assert set(order.split(", ")) <= known
