"""YAML into plain data, with the line of every key, and without YAML's traps.

Duplicate keys, tags, aliases that blow a document up, deep nesting and large files are errors.
Only YAML 1.2's core words are special: ``yes`` and ``1:30`` and dates stay text.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

MAX_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 32


class YamlError(ValueError):
    """The document breaks a rule; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Plain data and where each key path stands, for example ``targets.lots.provider``."""

    data: Any
    lines: dict[str, int]


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema for plain scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        (
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
            r"|\.(?:nan|NaN|NAN)"
        ),
        "-+.0123456789",
    ),
):
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def parse_yaml(text: str) -> Tree:
    """Parse one YAML document.

    Raises:
        YamlError: It is not YAML, or breaks a rule above.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES} bytes", 1)
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = getattr(exc, "problem", None) or str(exc)
        raise YamlError(f"not valid YAML: {problem}", mark.line + 1 if mark else 1) from exc
    except RecursionError as exc:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels", 1) from exc
    if node is None:
        raise YamlError("the file is empty", 1)
    walker = _Walker()
    return Tree(data=walker.plain(node, "", 0), lines=walker.lines)


class _Walker:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._nodes = 0

    def plain(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} values once aliases are followed", line)
        if depth > MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", line)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path, depth)
            case yaml.SequenceNode():
                return [
                    self.plain(item, f"{path}[{index}]", depth + 1)
                    for index, item in enumerate(node.value)
                ]
            case _:
                return _scalar(node, line)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("a key has to be plain text", line)
            key = key_node.value
            if key in result:
                raise YamlError(f"key '{key}' is given twice", line)
            child = f"{path}.{key}" if path else key
            self.lines[child] = line
            result[key] = self.plain(value_node, child, depth + 1)
        return result


def _scalar(node: yaml.Node, line: int) -> Any:
    text: str = node.value
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    match kind:
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            if len(text) > 64:
                raise YamlError("a number is too long", line)
            return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
        case "float":
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            raise YamlError(f"tag '{node.tag}' is not allowed", line)
