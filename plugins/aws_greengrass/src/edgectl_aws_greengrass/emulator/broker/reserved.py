"""Decides what a reserved topic asks for: jobs, shadows, or a core device's report of its health.

Topics: docs.aws.amazon.com/iot/latest/developerguide/reserved-topics.html; the namespace of
Greengrass stands behind the job, ``$aws/things/T/jobs/$next/namespace-aws-gg-deployment/get``.
"""

from __future__ import annotations

from dataclasses import dataclass

_NAMESPACE = "namespace-"
_NOTIFY = "notify"
_NOTIFY_NEXT = "notify-next"


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingJobs:
    """``jobs/get``: all that is in progress and queued."""

    thing: str
    namespace: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StartNextJob:
    """``jobs/start-next``."""

    thing: str
    namespace: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribeJob:
    """``jobs/ID/get``; ID may be ``$next``."""

    thing: str
    job_id: str
    namespace: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateJob:
    """``jobs/ID/update``."""

    thing: str
    job_id: str
    namespace: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow:
    """``shadow/get``, ``update`` or ``delete``; without a name the classic one."""

    thing: str
    name: str | None
    verb: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """``greengrassv2/health/json``: fleet status."""

    thing: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobsNotice:
    """A topic on which the service tells of a thing's jobs.

    Attributes:
        only_next: ``notify-next`` rather than ``notify``.
    """

    thing: str
    namespace: str | None
    only_next: bool


Request = PendingJobs | StartNextJob | DescribeJob | UpdateJob | Shadow | Health


def parse(topic: str) -> Request | None:
    """Return what publishing to a topic asks the service for, None for nothing."""
    levels = topic.split("/")
    if len(levels) < 5 or levels[:2] != ["$aws", "things"]:
        return None
    thing, rest = levels[2], levels[3:]
    if rest == ["greengrassv2", "health", "json"]:
        return Health(thing=thing)
    if rest[0] == "shadow":
        return _shadow(thing, rest[1:])
    return _jobs(thing, rest[1:]) if rest[0] == "jobs" else None


def _shadow(thing: str, rest: list[str]) -> Request | None:
    name = None
    if len(rest) == 3 and rest[0] == "name" and rest[1]:
        name, rest = rest[1], rest[2:]
    if len(rest) == 1 and rest[0] in {"get", "update", "delete"}:
        return Shadow(thing=thing, name=name, verb=rest[0])
    return None


def _jobs(thing: str, rest: list[str]) -> Request | None:
    namespaces = [level for level in rest if level.startswith(_NAMESPACE)]
    namespace = namespaces[0].removeprefix(_NAMESPACE) if namespaces else None
    plain = [level for level in rest if not level.startswith(_NAMESPACE)]
    if plain == ["get"]:
        return PendingJobs(thing=thing, namespace=namespace)
    if plain == ["start-next"]:
        return StartNextJob(thing=thing, namespace=namespace)
    if len(plain) == 2 and plain[1] == "get":
        return DescribeJob(thing=thing, job_id=plain[0], namespace=namespace)
    if len(plain) == 2 and plain[1] == "update":
        return UpdateJob(thing=thing, job_id=plain[0], namespace=namespace)
    return None


def notice(topic: str) -> JobsNotice | None:
    """Return what a subscription to exactly this topic wants to be told of."""
    levels = topic.split("/")
    if len(levels) != 5 or levels[:2] != ["$aws", "things"] or levels[3] != "jobs":
        return None
    kind, _, namespace = levels[4].partition(f"-{_NAMESPACE}")
    if kind not in {_NOTIFY, _NOTIFY_NEXT}:
        return None
    return JobsNotice(thing=levels[2], namespace=namespace or None, only_next=kind == _NOTIFY_NEXT)
