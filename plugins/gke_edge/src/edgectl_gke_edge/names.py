"""The names, labels and annotations of everything that is made in a cluster.

Kubernetes takes names of lower-case letters, digits and dashes, and label keys whose last part has
63 characters; an application's name is longer and freer. So each has a *slug*: the name itself
where that will do, otherwise what is left of it and a part of its digest. The name as it is stands
in an annotation. Pure.
"""

from __future__ import annotations

import hashlib
import re

from edgectl.api import LimitError

PREFIX = "edgectl.dev"
FIELD_MANAGER = "edgectl"
MANAGED_BY = "app.kubernetes.io/managed-by"
APPLICATION = f"{PREFIX}/application"
RELEASE = f"{PREFIX}/release"
HARDWARE = f"{PREFIX}/hardware"
LABEL = f"{PREFIX}/label."
ROLE = f"{PREFIX}/role"
TARGET = f"{PREFIX}/target"
PACKAGE = f"{PREFIX}/package"
VERSION = f"{PREFIX}/version"
SOAK = f"{PREFIX}/soak-seconds"
CONTENT = f"{PREFIX}/content"
FORMER = f"{PREFIX}/former-release"
RUNTIME_ROLE = "runtime"
SHARED_ROLE = "shared"
TRAIN_ROLE = "training"

MAX_SLUG = 32
"""With ``-r<number>-<profile>`` behind it a name stays below 63 characters."""
_SLUG = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_RELEASE_KEY = re.compile(r"r([0-9]{1,15})")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def slug(name: str) -> str:
    """Return a name that Kubernetes takes, the same for the same name and no other."""
    if _SLUG.fullmatch(name):
        return name
    plain = _NOT_SLUG.sub("-", name.lower()).strip("-")
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: MAX_SLUG - 9].strip('-') or 'app'}-{digest}"


def namespace_of(application: str, configured: str | None) -> str:
    """Return the namespace of an application."""
    return configured or f"edgectl-{slug(application)}"


def release_key(application: str, number: int) -> str:
    """Return the node label that gives a node a release; its value is the node's profile."""
    return f"{PREFIX}/{slug(application)}.r{number}"


def former_key(application: str) -> str:
    """Return the node annotation that keeps which release a node had before."""
    return f"{PREFIX}/{slug(application)}.former"


def refused_key(application: str) -> str:
    """Return the node annotation that keeps why a release was taken off a node again."""
    return f"{PREFIX}/{slug(application)}.refused"


def trust_name(application: str) -> str:
    """Return the name of the ConfigMap with the public key that an application's pods trust."""
    return f"{slug(application)}-publishers"


def releases_on(labels: dict[str, str], application: str) -> dict[int, str]:
    """Return the releases that a node's labels give it: number to hardware profile."""
    start = f"{PREFIX}/{slug(application)}."
    found = {}
    for key, value in labels.items():
        if key.startswith(start) and (match := _RELEASE_KEY.fullmatch(key.removeprefix(start))):
            found[int(match[1])] = value
    return dict(sorted(found.items()))


def workload_name(application: str, number: int, hardware: str) -> str:
    """Return the name of a release's DaemonSet for one kind of hardware, and of its ConfigMap."""
    return f"{slug(application)}-r{number}-{slug(hardware)}"


def own_labels(application: str, role: str = RUNTIME_ROLE) -> dict[str, str]:
    """Return the labels by which our objects of an application are found again."""
    return {
        MANAGED_BY: FIELD_MANAGER,
        "app.kubernetes.io/part-of": "edgectl",
        "app.kubernetes.io/name": slug(application),
        APPLICATION: slug(application),
        ROLE: role,
    }


def check_label(key: str, value: str) -> None:
    """Check that Kubernetes takes a label.

    Raises:
        LimitError: It does not.
    """
    prefix, _, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or len(prefix) > 253:
        raise LimitError(f"'{key}' cannot be a label's key: Kubernetes takes 63 letters and digits")
    if not _LABEL_VALUE.fullmatch(value):
        raise LimitError(
            f"'{value}' cannot be the value of label '{key}': Kubernetes takes at most 63 letters, "
            "digits, dots, dashes and underscores"
        )
