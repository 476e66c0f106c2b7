"""A release as Greengrass documents: the deployment, the names and marks of what we make.

A new revision of a deployment replaces the whole set of components, so ours is always merged
into what is there (developer guide, create-deployments). What we did not put there stays, whatever
it is. Everything here is pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from edgectl.api import Pace, Record, Release, ReleaseRecord, sha256_digest
from edgectl_aws_greengrass.config import AwsConfig, JobConfig
from edgectl_aws_greengrass.recipe import (
    model_name,
    model_version,
    release_of,
    runtime_name,
)

MADE_BY = "edgectl:made-by"
APPLICATION_TAG = "edgectl:application"
TARGET_TAG = "edgectl:target"
RELEASE_TAG = "edgectl:release"
PACKAGE_TAG = "edgectl:package"
CONTENT_TAG = "edgectl:content"
MAX_GROUP_NAME = 128
MAX_NUMBER = 10**16
_RECORD = re.compile(
    r"(?P<back>\d{16})\.(?P<package>[0-9a-f]{64})\.(?P<content>[0-9a-f]{64})\.(?P<version>[^/]*)"
    r"\.json"
)

Component = Mapping[str, Any]
Components = dict[str, Component]


class Giving(Record, frozen=True, kw_only=True):
    """How a release gets to devices that do not have it.

    Attributes:
        assigned: Who is given it now.
        unchanged: Who had it.
        whole: Whether the group itself gets a new revision; else the part of this release does.
    """

    assigned: tuple[str, ...]
    unchanged: tuple[str, ...]
    whole: bool


def plan_giving(
    wanted: Iterable[str],
    *,
    had: Collection[str],
    members: Collection[str],
    group_has_it: bool,
    narrowed: bool,
) -> Giving:
    """Decide who is given a release, and through what.

    The group itself gets a revision once everybody in it is given the release; before that, and
    for a target that is not the whole group, its devices are a part of the group.

    Args:
        wanted: Whom the release is for.
        had: Who has it, or was given it.
        members: Everybody in the group.
        group_has_it: Whether the group's own revision carries the release.
        narrowed: Whether the target is only some of the group by its selector.
    """
    asked = tuple(dict.fromkeys(wanted))
    there = frozenset(had)
    assigned = tuple(device for device in asked if device not in there)
    everybody = frozenset(members) <= there | frozenset(asked)
    return Giving(
        assigned=assigned,
        unchanged=tuple(device for device in asked if device in there),
        whole=bool(assigned) and everybody and not group_has_it and not narrowed,
    )


def release_in(components: Mapping[str, Component], name: str) -> int:
    """Return the release of our component in a deployment; 0 if it is not there."""
    found = components.get(name)
    return 0 if found is None else release_of(str(found.get("componentVersion", "")))


def own_components(config: AwsConfig, application: str, number: int, runtime: str) -> Components:
    """Return what a deployment holds of ours, exactly pinned.

    The defaults of a component's new version count only after a reset: configuration stays on
    the device from one deployment to the next.

    Args:
        config: The publisher, and whom to run as.
        application: Whose release.
        number: Its number.
        runtime: The runtime component's version.
    """
    run_with = {} if config.posix_user is None else {"runWith": {"posixUser": config.posix_user}}
    fresh = {"configurationUpdate": {"reset": [""]}, **run_with}
    return {
        runtime_name(config.publisher): {"componentVersion": runtime, **fresh},
        model_name(config.publisher, application): {
            "componentVersion": model_version(number),
            **fresh,
        },
    }


def merge(present: Mapping[str, Component], ours: Mapping[str, Component]) -> Components:
    """Return the components of a deployment with ours in it; all others as they are.

    A component of ours that keeps its version, as the runtime does with most releases, comes
    without an update of its configuration: nucleus lite starts a component with one anew.
    """
    merged = {**present, **ours}
    for name in ours:
        if present.get(name, {}).get("componentVersion") == ours[name]["componentVersion"]:
            merged[name] = {k: v for k, v in ours[name].items() if k != "configurationUpdate"}
    return {name: merged[name] for name in sorted(merged)}


def without(present: Mapping[str, Component], config: AwsConfig, application: str) -> Components:
    """Return the components without an application's, and without a runtime that none needs."""
    gone = {model_name(config.publisher, application)}
    runtime = runtime_name(config.publisher)
    prefix = f"{config.publisher}."
    left = {name for name in present if name not in gone and name != runtime}
    if not any(name.startswith(prefix) for name in left):
        gone.add(runtime)
    return {name: present[name] for name in sorted(present) if name not in gone}


def others(present: Mapping[str, Component], config: AwsConfig, application: str) -> Components:
    """Return the components of a deployment that are not an application's."""
    return without(
        {n: c for n, c in present.items() if n != runtime_name(config.publisher)},
        config,
        application,
    )


def document(components: Mapping[str, Component]) -> bytes:
    """Return about what a device gets as a deployment, to weigh it."""
    return json.dumps(components, separators=(",", ":")).encode()


def deployment_name(application: str, target: str, number: int) -> str:
    """Return the name that marks a deployment as ours."""
    parts = (quote(application, safe=""), quote(target, safe=""), f"r{number}")
    return "/".join(("edgectl", *parts))


def named_release(name: str, application: str) -> int | None:
    """Return the release that a deployment of ours is named after; None for any other name."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "edgectl" or unquote(parts[1]) != application:
        return None
    match = re.fullmatch(r"r([1-9]\d{0,15})", parts[3])
    return int(match[1]) if match else None


def part_prefix(application: str, target: str) -> str:
    """Return how the names of a target's parts begin, whatever the target is called.

    Thing groups take letters, digits, colons, underscores and dashes; the digest keeps names
    apart that become the same by that.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{application}-{target}")[:80]
    digest = sha256_digest(f"{application}\n{target}".encode()).removeprefix("sha256:")[:8]
    return f"edgectl-{plain}-{digest}-r"


def part_name(application: str, target: str, number: int) -> str:
    """Return the name of the thing group of those who are given a release before everybody."""
    return f"{part_prefix(application, target)}{number}"


def tags(application: str, target: str, number: int) -> dict[str, str]:
    """Return the marks of a deployment or a group that we make."""
    return {
        MADE_BY: "edgectl",
        APPLICATION_TAG: application,
        TARGET_TAG: target,
        RELEASE_TAG: str(number),
    }


def component_tags(release: Release) -> dict[str, str]:
    """Return the marks of a release's component: what it holds, whatever its bytes are."""
    return {
        MADE_BY: "edgectl",
        APPLICATION_TAG: release.application,
        RELEASE_TAG: str(release.number),
        PACKAGE_TAG: release.package,
        CONTENT_TAG: release.document.content_digest(),
    }


def deployment_policies(job: JobConfig) -> dict[str, Any]:
    """Return what a deployment asks of devices: to go back by themselves when it fails."""
    return {
        "failureHandlingPolicy": "ROLLBACK",
        "componentUpdatePolicy": {
            "action": job.update,
            "timeoutInSeconds": job.update_timeout_s,
        },
    }


def job_configuration(job: JobConfig, pace: Pace | None) -> dict[str, Any] | None:
    """Return what the IoT job behind a deployment keeps to even when nobody watches it.

    The failure threshold of the rollout is delegated as abort criteria, and so is its time; who
    drives the rollout counts by itself too, so the cloud is the net below.

    Args:
        job: What the project file says.
        pace: What the rollout policy says, or None.
    """
    found: dict[str, Any] = {}
    if job.maximum_per_minute is not None:
        found["jobExecutionsRolloutConfig"] = {"maximumPerMinute": job.maximum_per_minute}
    if pace is not None and pace.failure_percent is not None and pace.failure_percent > 0:
        found["abortConfig"] = {
            "criteriaList": [
                {
                    "failureType": "FAILED",
                    "action": "CANCEL",
                    "thresholdPercentage": round(max(pace.failure_percent, 0.01), 2),
                    "minNumberOfExecutedThings": pace.min_devices,
                }
            ]
        }
    minutes = job.in_progress_timeout_min
    if minutes is None and pace is not None and pace.timeout_s is not None:
        minutes = min(max(int(pace.timeout_s // 60) + 1, 1), 10_080)
    if minutes is not None:
        found["timeoutConfig"] = {"inProgressTimeoutInMinutes": minutes}
    return found or None


def blob_key(prefix: str, digest: str) -> str:
    """Return where a blob lies in the bucket; a device's file gets the name after the last /."""
    return f"{prefix}/blobs/sha256/{digest.removeprefix('sha256:')}"


def named_blob_key(prefix: str, digest: str, name: str) -> str:
    """Return where a blob lies whose name on the device matters, such as a wheel's."""
    return f"{blob_key(prefix, digest)}/{name}"


def releases_prefix(prefix: str, application: str) -> str:
    """Return where the records of an application's releases lie."""
    return f"{prefix}/applications/{quote(application, safe='')}/releases/"


def record_key(prefix: str, release: Release) -> str:
    """Return the key of a release's record.

    S3 lists keys in order, so the number counts down: the newest comes first. All that the
    history needs stands in the key, so a listing of a thousand releases is one call.
    """
    document = release.document
    name = ".".join(
        (
            f"{MAX_NUMBER - 1 - release.number:016d}",
            document.package.removeprefix("sha256:"),
            document.content_digest().removeprefix("sha256:"),
            quote(document.version, safe="+")[:400],
            "json",
        )
    )
    return releases_prefix(prefix, release.application) + name


def read_record(key: str, modified: float | None) -> ReleaseRecord | None:
    """Read a release's record from its key; None for a key that is not ours."""
    match = _RECORD.fullmatch(key.rsplit("/", 1)[-1])
    if match is None:
        return None
    return ReleaseRecord(
        number=MAX_NUMBER - 1 - int(match["back"]),
        package=f"sha256:{match['package']}",
        version=unquote(match["version"]),
        content=f"sha256:{match['content']}",
        created_at=modified,
    )


def shared_key(prefix: str, application: str, target: str, key: str) -> str:
    """Return where a text lies that the operators of a target share."""
    parts = (quote(part, safe="") for part in (application, target, key))
    return "{}/applications/{}/targets/{}/{}".format(prefix, *parts)


def newer_runtime(present: Mapping[str, Component], name: str, installed: str) -> str:
    """Return the runtime's version for a deployment: never one below what is there.

    An operator with an older edgectl must not take a fleet's runtime back. Development versions
    of one release have no order; there the operator's own counts.
    """
    there = str(present.get(name, {}).get("componentVersion", ""))
    return there if _order(there) > _order(installed) else installed


def _order(version: str) -> tuple[int, int, int, int]:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)(-)?", version)
    if match is None:
        return (-1, 0, 0, 0)
    return int(match[1]), int(match[2]), int(match[3]), 0 if match[4] else 1
