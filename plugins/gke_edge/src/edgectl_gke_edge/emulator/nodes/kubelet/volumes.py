"""A pod's volumes as folders of the node.

``hostPath`` means the virtual node's own disk, a folder of the node, never this machine's.
Source: kubernetes.io, "Volumes", "Projected Volumes".
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.kubelet.environment import ConfigError, field_of, resource_of
from edgectl_gke_edge.emulator.nodes.kubelet.rootfs import Mount

Read = Callable[[str, str, str], Awaitable[Obj | None]]
Token = Callable[[Obj], Awaitable[str]]
PullVolume = Callable[[Obj], Awaitable[str]]


class VolumeError(Exception):
    """A volume cannot be mounted yet; the message is the kubelet's."""


class Volumes:
    """Makes the volumes of one pod.

    Args:
        pod: The pod, with its addresses in its status.
        folder: Where they lie.
        host: The folder that is the node's disk.
        read: Reads a ConfigMap or Secret: plural, namespace, name; None if there is none.
        token: Gets a service account token for a projected source.
        image: Pulls an image and returns the folder with its files.
    """

    def __init__(
        self, pod: Obj, folder: Path, host: Path, *, read: Read, token: Token, image: PullVolume
    ) -> None:
        self._pod = pod
        self._folder = folder
        self._host = host
        self._read = read
        self._token = token
        self._image = image
        self._made: dict[str, Path] = {}

    async def make(self) -> None:
        """Make every volume.

        Raises:
            VolumeError: One cannot be had yet.
            PullError: An image cannot be pulled.
        """
        for volume in self._pod["spec"].get("volumes") or ():
            name = volume["name"]
            try:
                self._made[name] = await self._one(volume)
            except (ConfigError, OSError) as exc:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {exc}') from exc

    def mounts(self, container: Obj) -> list[Mount]:
        """Return where a container finds them."""
        found = []
        kinds = {v["name"]: v for v in self._pod["spec"].get("volumes") or ()}
        for mount in container.get("volumeMounts") or ():
            source = self._made[mount["name"]] / (mount.get("subPath") or "")
            if mount.get("subPath") and not source.exists():
                source.mkdir(parents=True)
            volume = kinds[mount["name"]]
            fixed = any(kind in volume for kind in ("configMap", "secret", "image", "projected"))
            found.append(
                Mount(
                    source=str(source),
                    target=mount["mountPath"],
                    readonly=bool(mount.get("readOnly")) or fixed or "downwardAPI" in volume,
                )
            )
        return found

    async def _one(self, volume: Obj) -> Path:
        folder: Path = self._folder / volume["name"]
        if "hostPath" in volume:
            return self._host_path(volume["hostPath"])
        if "image" in volume:
            return Path(await self._image(volume["image"]))
        _make(folder)
        if "configMap" in volume:
            await self._keyed("configmaps", volume["configMap"], "name", folder)
        elif "secret" in volume:
            await self._keyed("secrets", volume["secret"], "secretName", folder)
        elif "downwardAPI" in volume:
            self._downward(volume["downwardAPI"], folder)
        elif "projected" in volume:
            for source in volume["projected"].get("sources") or ():
                await self._projected(source, folder)
        elif "emptyDir" in volume:
            _make(folder, 0o777)
        else:
            kind = next((key for key in volume if key != "name"), "?")
            raise VolumeError(f'volume "{volume["name"]}": {kind} is not emulated')
        return folder

    def _host_path(self, volume: Obj) -> Path:
        path: Path = self._host / volume["path"].lstrip("/")
        kind = volume.get("type") or ""
        if kind in ("", "DirectoryOrCreate"):
            path.mkdir(parents=True, exist_ok=True)
        elif kind == "FileOrCreate":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        fits = {"Directory": path.is_dir, "File": path.is_file}.get(kind)
        if fits is not None and not fits():
            raise ConfigError(
                f"hostPath type check failed: {volume['path']} is not a {kind.lower()}"
            )
        return path

    async def _projected(self, source: Obj, folder: Path) -> None:
        if "configMap" in source:
            await self._keyed("configmaps", source["configMap"], "name", folder)
        elif "secret" in source:
            await self._keyed("secrets", source["secret"], "name", folder)
        elif "downwardAPI" in source:
            self._downward(source["downwardAPI"], folder)
        elif "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            _write(folder, wanted["path"], (await self._token(wanted)).encode(), 0o644)

    async def _keyed(self, kind: str, volume: Obj, key: str, folder: Path) -> None:
        name, namespace = volume.get(key) or "", self._pod["metadata"]["namespace"]
        found = await self._read(kind, namespace, name)
        if found is None:
            if volume.get("optional"):
                return
            raise ConfigError(f'{kind.removesuffix("s")} "{name}" not found')
        data = contents(kind, found)
        items = volume.get("items")
        wanted = items if items is not None else [{"key": one, "path": one} for one in data]
        for item in wanted:
            if item["key"] not in data:
                if volume.get("optional"):
                    continue
                raise ConfigError(f"references non-existent config key: {item['key']}")
            mode = item.get("mode") or volume.get("defaultMode") or 0o644
            _write(folder, item["path"], data[item["key"]], int(mode))

    def _downward(self, volume: Obj, folder: Path) -> None:
        containers = {one["name"]: one for one in self._pod["spec"]["containers"]}
        for item in volume.get("items") or ():
            if "fieldRef" in item:
                text = field_of(self._pod, item["fieldRef"]["fieldPath"])
            else:
                reference = item["resourceFieldRef"]
                text = resource_of(containers[reference["containerName"]], reference)
            _write(folder, item["path"], text.encode(), item.get("mode") or 0o644)


def contents(kind: str, obj: Obj) -> dict[str, bytes]:
    """Return the files of a ConfigMap or Secret."""
    if kind == "secrets":
        return {key: base64.b64decode(v) for key, v in (obj.get("data") or {}).items()}
    files = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
    files |= {key: base64.b64decode(v) for key, v in (obj.get("binaryData") or {}).items()}
    return files


def _make(folder: Path, mode: int = 0o755) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)


def _write(folder: Path, name: str, data: bytes, mode: int) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    # Readable by whom the pod's fsGroup would let: here a pod's user is always this process's.
    part.chmod(mode | 0o400)
    part.replace(path)
