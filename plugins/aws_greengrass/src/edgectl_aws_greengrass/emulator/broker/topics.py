"""Decides which topics and filters AWS IoT Core takes.

Limits: docs.aws.amazon.com/general/latest/gr/iot-core.html, "Message broker and protocol limits".
"""

from __future__ import annotations

from edgectl.emulation.mqtt import topics

MAX_TOPIC_BYTES = 256
MAX_SLASHES = 7
MAX_PAYLOAD_BYTES = 128 << 10
MAX_SUBSCRIPTIONS = 50
MAX_FILTERS_A_REQUEST = 8
_RESERVED = "$aws/"
_BASIC_INGEST = "$aws/rules/"
_BASIC_INGEST_LEVELS = 3


def is_reserved(topic: str) -> bool:
    """Say whether a topic or filter is the service's own."""
    return topic.startswith("$")


def topic_fault(topic: str) -> str:
    """Return why nobody can publish to a topic, or ""."""
    if not topic:
        return "the topic is empty"
    if "+" in topic or "#" in topic:
        return f"'{topic}' has a wildcard"
    return _common_fault(topic)


def filter_fault(name: str) -> str:
    """Return why nobody can subscribe to a filter, or ""."""
    return topics.filter_fault(name) or _common_fault(name)


def _common_fault(topic: str) -> str:
    if topic.startswith("$") and not topic.startswith((_RESERVED, "$share/")):
        return f"topics that begin with $ are reserved, '{topic}' is not known"
    if topic.startswith(_RESERVED) and not topic.startswith(_BASIC_INGEST):
        return ""
    levels = topic.split("/")
    if topic.startswith(_BASIC_INGEST):
        levels = levels[_BASIC_INGEST_LEVELS:]
    rest = "/".join(levels)
    if len(rest.encode()) > MAX_TOPIC_BYTES:
        return f"'{topic}' has more than {MAX_TOPIC_BYTES} bytes"
    if len(levels) - 1 > MAX_SLASHES:
        return f"'{topic}' has more than {MAX_SLASHES} slashes"
    return ""
