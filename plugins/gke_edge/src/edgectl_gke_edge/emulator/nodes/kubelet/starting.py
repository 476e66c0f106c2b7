"""What a container is started with, from the pod, its image and its volumes. Pure but for paths."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.kubelet.environment import ConfigError, expand
from edgectl_gke_edge.emulator.nodes.kubelet.images import Image, image_command
from edgectl_gke_edge.emulator.nodes.kubelet.rootfs import HOST_MARK, Mount, Root
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import Spec, user_of
from edgectl_gke_edge.emulator.nodes.quantities import parse_quantity

TERMINATION_PATH = "/dev/termination-log"
TERMINATION_FILE = "termination-log"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def spec_of(pod: Obj, container: Obj, image: Image, env: dict[str, str], log: Path) -> Spec:
    """Return how a container's program is started.

    Raises:
        ConfigError: Pod and image do not go together, as the kubelet says it.
    """
    security = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}
    uid = _uid(security, own, image)
    gid = own.get("runAsGroup", security.get("runAsGroup"))
    values = {"PATH": _PATH, **env}
    argv = [expand(word, values) for word in image_command(image, container)]
    if not argv:
        raise ConfigError("no command specified")
    memory = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return Spec(
        argv=argv,
        env=values,
        cwd=container.get("workingDir") or image.config.get("WorkingDir") or "/",
        uid=uid,
        gid=int(gid) if gid is not None else 0,
        hostname=pod["spec"].get("hostname") or pod["metadata"]["name"],
        steps=[],
        log=str(log),
        readonly=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        memory=int(parse_quantity(memory)) if memory else 0,
    )


def root_of(container: Obj, image: Image, mounts: list[Mount], folder: Path) -> Root:
    """Return what a container sees; its termination log lies in ``folder``."""
    own = container.get("securityContext") or {}
    target = container.get("terminationMessagePath") or TERMINATION_PATH
    left = Mount(source=str(folder / TERMINATION_FILE), target=target)
    return Root(
        image=image.folder,
        over_host=(Path(image.folder) / HOST_MARK).exists(),
        mounts=(*mounts, left),
        keep=interpreter_folders(),
        readonly=bool(own.get("readOnlyRootFilesystem")),
    )


def interpreter_folders() -> tuple[str, ...]:
    """Return where this interpreter and its packages lie."""
    paths = sysconfig.get_paths()
    packages = {paths["purelib"], paths["platlib"], *(entry for entry in sys.path if entry)}
    folders = {sys.prefix, sys.base_prefix, *(one for one in packages if Path(one).is_dir())}
    return tuple(
        sorted(one for one in folders if not any(one.startswith(f"{other}/") for other in folders))
    )


def _uid(security: Obj, own: Obj, image: Image) -> int:
    user = user_of(security, own, str(image.config.get("User") or ""))
    must = own.get("runAsNonRoot", security.get("runAsNonRoot"))
    if not user.isdecimal():
        if must:
            raise ConfigError(
                f"container has runAsNonRoot and image has non-numeric user ({user}), "
                "cannot verify user is non-root"
            )
        return 0 if user == "root" else 65534
    if must and int(user) == 0:
        raise ConfigError("container has runAsNonRoot and image will run as root")
    return int(user)
