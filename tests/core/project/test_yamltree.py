"""YAML into plain data: lines are known, and the traps of YAML are errors."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgectl.project.yamltree import MAX_BYTES, YamlError, parse_yaml


def test_every_key_has_its_line() -> None:
    tree = parse_yaml("a: 1\nb:\n  c: [x,\n      y]\n")
    assert tree.data == {"a": 1, "b": {"c": ["x", "y"]}}
    assert tree.lines["b.c"] == 3
    assert tree.lines["b.c[1]"] == 4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("~", None),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("'1'", "1"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_only_the_core_schema_is_special(text: str, value: object) -> None:
    found = parse_yaml(f"k: {text}").data["k"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "key 'a' is given twice"),
        ("a: 1\nb: {c: 1, c: 2}\n", 2, "key 'c' is given twice"),
        ("", 1, "the file is empty"),
        ("a: [1,\n", 2, "not valid YAML"),
        ("a: !!python/object:os.system x\n", 1, "is not allowed"),
        ("a: !secret x\n", 1, "is not allowed"),
        ("? [a]\n: 1\n", 1, "a key has to be plain text"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested deeper"),
        ("a: " + "9" * 70, 1, "a number is too long"),
    ],
)
def test_a_trap_is_an_error_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(YamlError, match=message) as caught:
        parse_yaml(text)
    assert caught.value.line == line


def test_a_billion_laughs_are_refused_before_they_are_expanded() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(YamlError, match="more than"):
        parse_yaml(bomb)


def test_an_alias_to_itself_is_refused() -> None:
    with pytest.raises(YamlError, match="nested deeper"):
        parse_yaml("a: &a [*a]\n")


def test_a_large_file_is_refused_before_parsing() -> None:
    with pytest.raises(YamlError, match="larger than"):
        parse_yaml("a: " + "x" * MAX_BYTES)


def test_an_alias_within_bounds_is_followed() -> None:
    assert parse_yaml("a: &a {b: 1}\nc: *a\n").data["c"] == {"b": 1}


@given(st.text(max_size=400))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse_yaml(text)
    except YamlError as exc:
        assert exc.line >= 1


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), plain, min_size=1))
def test_what_a_yaml_writer_writes_is_read_back(value: dict[str, object]) -> None:
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    # JSON is YAML: every scalar is quoted or a core word, whatever the writer's own schema is.
    text = yaml.dump(value, Dumper=Dumper, default_style='"', allow_unicode=True)
    found = parse_yaml(text).data
    assert set(found) == {str(key) for key in value}
