"""Decides which filters are well formed, and which topics they take (MQTT 5.0 section 4.7)."""

from __future__ import annotations


def has_wildcard(name: str) -> bool:
    """Say whether a filter stands for more than one topic."""
    return "+" in name or "#" in name


def filter_fault(name: str) -> str:
    """Return why a filter is malformed, or ""."""
    if not name:
        return "the filter is empty"
    levels = name.split("/")
    if any(
        "#" in level and (level != "#" or at < len(levels) - 1) for at, level in enumerate(levels)
    ):
        return f"'#' stands alone and last, not as in '{name}'"
    if any("+" in level and level != "+" for level in levels):
        return f"'+' is a whole level, not as in '{name}'"
    return ""


def matches(name: str, topic: str) -> bool:
    """Say whether a filter takes a topic."""
    if topic.startswith("$") and name[:1] in {"+", "#"}:
        return False
    wanted, found = name.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(found) or level not in {"+", found[at]}:
            return False
    return len(wanted) == len(found)
