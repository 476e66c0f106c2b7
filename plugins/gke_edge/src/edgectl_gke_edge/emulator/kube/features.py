"""What a version of Kubernetes does not serve yet: fields that it drops without a word.

The gates are those of ``pkg/features/kube_features.go`` (read for 1.33 and 1.36); GKE's control
planes keep the defaults.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.kinds import Kind

IMAGE_VOLUMES_FROM = (1, 35)
INITIAL_EVENTS_FROM = (1, 34)


@dataclass(frozen=True)
class Features:
    """What a version serves.

    Attributes:
        version: Major and minor.
    """

    version: tuple[int, int]

    @classmethod
    def of(cls, git_version: str) -> Features:
        """Read them from ``vMAJOR.MINOR.…``.

        Raises:
            ValueError: It is written otherwise.
        """
        found = re.match(r"v(\d+)\.(\d+)\.", git_version)
        if not found:
            raise ValueError(f"'{git_version}' is no version of Kubernetes")
        return cls((int(found[1]), int(found[2])))

    @property
    def initial_events(self) -> bool:
        """Whether a watch may begin with the present state and a bookmark after it."""
        return self.version >= INITIAL_EVENTS_FROM

    def without_unserved(self, kind: Kind, obj: Json) -> Json:
        """Return an object without what this version drops."""
        if self.version >= IMAGE_VOLUMES_FROM:
            return obj
        if kind.kind == "Pod":
            return {**obj, "spec": _without_image_volumes(obj.get("spec", {}))}
        template = obj.get("spec", {}).get("template")
        if not isinstance(template, dict) or "spec" not in template:
            return obj
        template = {**template, "spec": _without_image_volumes(template["spec"])}
        return {**obj, "spec": {**obj["spec"], "template": template}}


def _without_image_volumes(spec: Json) -> Json:
    """Drop image volumes and their mounts, as a server does with the gate off."""
    gone = {v["name"] for v in spec.get("volumes", []) if "image" in v and "name" in v}
    if not gone:
        return spec
    result = copy.deepcopy(spec)
    result["volumes"] = [v for v in result["volumes"] if v.get("name") not in gone]
    for container in [*result.get("initContainers", []), *result.get("containers", [])]:
        if "volumeMounts" in container:
            mounts = container["volumeMounts"]
            container["volumeMounts"] = [m for m in mounts if m.get("name") not in gone]
    return result
