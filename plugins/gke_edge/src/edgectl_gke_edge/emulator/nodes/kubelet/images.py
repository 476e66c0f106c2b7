"""Images on a virtual node: pulled from a registry by manifest, layers merged into one folder.

A registry on this machine is spoken to in plain HTTP, as container engines do. What is pulled is
kept by digest in the node's folder, over restarts of the node too.
Source: OCI image-spec and distribution-spec 1.1; kubernetes.io, "Images".
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import platform
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from edgectl_gke_edge.emulator.nodes.api import Obj

_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPT = ", ".join(_TYPES)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class PullError(Exception):
    """An image cannot be pulled; the message is the kubelet's."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """An image's name, taken apart.

    Attributes:
        host: The registry, with its port.
        wanted: The digest, or the tag.
    """

    text: str
    host: str
    repository: str
    wanted: str

    @property
    def is_digest(self) -> bool:
        """Whether the name is good for one image only."""
        return self.wanted.startswith("sha256:")


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image on this node.

    Attributes:
        digest: Of its manifest.
        folder: Where its merged layers lie.
        config: The image configuration's ``config`` part.
    """

    reference: str
    digest: str
    folder: str
    config: Obj = {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The image's labels."""
        return self.config.get("Labels") or {}


def parse_reference(text: str) -> Reference:
    """Take an image's name apart.

    Raises:
        PullError: It is none (``InvalidImageName``).
    """
    name, _, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if is_host else ("registry-1.docker.io", name)
    repository, colon, tag = path.rpartition(":")
    if not colon:
        repository, tag = path, "latest"
    if not is_host and "/" not in repository:
        repository = f"library/{repository}"
    if not re.fullmatch(r"[a-z0-9]+([._/-]+[a-z0-9]+)*", repository):
        raise PullError(f'couldn\'t parse image name "{text}": invalid reference format')
    return Reference(text=text, host=host, repository=repository, wanted=digest or tag)


class Logins:
    """Credentials of pull secrets, by registry.

    Args:
        secrets: Secrets of type ``kubernetes.io/dockerconfigjson``.
    """

    def __init__(self, secrets: list[Obj]) -> None:
        self._by_host: dict[str, str] = {}
        for secret in secrets:
            data = (secret.get("data") or {}).get(".dockerconfigjson", "")
            for host, login in (
                (json.loads(base64.b64decode(data)) if data else {}).get("auths", {}).items()
            ):
                plain = (
                    login.get("auth")
                    or base64.b64encode(
                        f"{login.get('username', '')}:{login.get('password', '')}".encode()
                    ).decode()
                )
                self._by_host[host.removeprefix("https://").split("/")[0]] = plain

    def basic(self, host: str) -> str:
        """Return the value for HTTP basic authentication, or ""."""
        return self._by_host.get(host, "")


class ImageStore:
    """A node's images.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index_file = folder / "references.json"
        self._locks: dict[str, asyncio.Lock] = {}
        self.pulls = 0
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, text: str) -> Image | None:
        """Return an image that is here already."""
        return self._load(text, self._references().get(text, ""))

    async def obtain(self, text: str, policy: str, logins: Logins) -> tuple[Image, bool]:
        """Return an image as the pull policy says, and whether the registry was asked for it.

        Raises:
            PullError: It cannot be had.
        """
        lock = self._locks.setdefault(text, asyncio.Lock())
        async with lock:
            here = self.find(text)
            if here is not None and (policy != "Always" or parse_reference(text).is_digest):
                return here, False
            if policy == "Never":
                raise PullError(
                    f'Container image "{text}" is not present with pull policy of Never'
                )
            reference = parse_reference(text)
            try:
                return await self._pull(reference, logins), True
            except (httpx.HTTPError, OSError, ValueError, KeyError) as exc:
                raise PullError(
                    f'failed to pull and unpack image "{text}": {type(exc).__name__}: {exc}'
                ) from exc

    def list(self) -> list[Obj]:
        """Return what the node's status says of its images."""
        found: dict[str, list[str]] = {}
        for text, digest in self._references().items():
            repository = text.partition("@")[0]
            found.setdefault(digest, []).append(f"{repository}@{digest}")
        return [{"names": sorted(set(names)), "sizeBytes": 1} for names in found.values()]

    async def _pull(self, reference: Reference, logins: Logins) -> Image:
        self.pulls += 1
        scheme = "http" if _is_local(reference.host) else "https"
        async with httpx.AsyncClient(
            base_url=f"{scheme}://{reference.host}",
            timeout=30.0,
            follow_redirects=True,
            trust_env=scheme == "https",
        ) as client:
            registry = _Registry(client, reference, logins)
            manifest, digest = await registry.manifest()
            folder = self._folder / digest.removeprefix("sha256:")
            if not (folder / "image.json").exists():
                await self._unpack(registry, manifest, folder)
        references = {**self._references(), reference.text: digest}
        _replace(self._index_file, msgspec.json.encode(references))
        image = self._load(reference.text, digest)
        if image is None:
            raise PullError(f'image "{reference.text}" is damaged')
        return image

    async def _unpack(self, registry: _Registry, manifest: Obj, folder: Path) -> None:
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        (part / "root").mkdir(parents=True)
        config = json.loads(await registry.blob(manifest["config"]))
        for layer in manifest.get("layers", ()):
            blob = part / "layer"
            blob.write_bytes(await registry.blob(layer))
            await asyncio.to_thread(_extract, blob, part / "root", layer)
            blob.unlink()
        _replace(part / "image.json", msgspec.json.encode(config.get("config") or {}))
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)

    def _references(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._index_file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    def _load(self, text: str, digest: str) -> Image | None:
        if not digest:
            return None
        folder = self._folder / digest.removeprefix("sha256:")
        try:
            config: Obj = json.loads((folder / "image.json").read_bytes())
        except FileNotFoundError:
            return None
        return Image(reference=text, digest=digest, folder=str(folder / "root"), config=config)


class _Registry:
    """One repository of a registry."""

    def __init__(self, client: httpx.AsyncClient, reference: Reference, logins: Logins) -> None:
        self._client = client
        self._reference = reference
        self._basic = logins.basic(reference.host)
        self._headers: dict[str, str] = {}

    async def manifest(self) -> tuple[Obj, str]:
        """Return the image's manifest for this machine, and its digest."""
        wanted = self._reference.wanted
        while True:
            content = await self._get(f"manifests/{wanted}", {"Accept": _ACCEPT})
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            if wanted.startswith("sha256:") and wanted != digest:
                raise PullError(f'failed to pull "{self._reference.text}": digest mismatch')
            document: Obj = json.loads(content)
            if "manifests" not in document:
                return document, digest
            wanted = self._for_here(document)

    async def blob(self, descriptor: Obj) -> bytes:
        """Return a blob, verified."""
        content = await self._get(f"blobs/{descriptor['digest']}", {})
        if "sha256:" + hashlib.sha256(content).hexdigest() != descriptor["digest"]:
            raise PullError(f'failed to pull "{self._reference.text}": digest mismatch of a layer')
        return content

    def _for_here(self, index: Obj) -> str:
        here = _ARCHITECTURES.get(platform.machine(), platform.machine())
        for entry in index["manifests"]:
            place = entry.get("platform") or {}
            if place.get("os") == "linux" and place.get("architecture") == here:
                return str(entry["digest"])
        raise PullError(
            f'failed to pull "{self._reference.text}": no match for platform linux/{here}'
        )

    async def _get(self, path: str, headers: Mapping[str, str]) -> bytes:
        url = f"/v2/{self._reference.repository}/{path}"
        for _ in range(2):
            response = await self._client.get(url, headers={**headers, **self._headers})
            if response.status_code != 401 or self._headers:
                break
            await self._authenticate(response.headers.get("WWW-Authenticate", ""))
        if response.is_error:
            raise PullError(_told(self._reference, response))
        return response.content

    async def _authenticate(self, challenge: str) -> None:
        scheme, _, rest = challenge.partition(" ")
        basic = {"Authorization": f"Basic {self._basic}"} if self._basic else {}
        if scheme.lower() == "basic":
            self._headers = basic
            return
        words = dict(_CHALLENGE.findall(rest))
        realm = words.pop("realm", "")
        if not realm:
            return
        answer = await self._client.get(realm, params=words, headers=basic)
        if answer.is_error:
            raise PullError(_told(self._reference, answer))
        found = answer.json()
        self._headers = {"Authorization": f"Bearer {found.get('token') or found['access_token']}"}


def _told(reference: Reference, response: httpx.Response) -> str:
    """Return the sentence for a refusal, in containerd's words."""
    start = f'failed to pull and unpack image "{reference.text}": failed to resolve reference'
    match response.status_code:
        case 404:
            return f"{start}: {reference.text}: not found"
        case 401 | 403:
            return (
                f"{start}: pull access denied, repository does not exist or may require "
                f"authorization: {response.status_code}"
            )
    return f"{start}: unexpected status from {response.request.method} request: " + str(
        response.status_code
    )


def _is_local(host: str) -> bool:
    name = host.rsplit(":", 1)[0]
    return name == "localhost" or name.startswith("127.")


def _extract(blob: Path, root: Path, layer: Obj) -> None:
    """Lay a layer over what is there; a layer that is no archive is a file under its title."""
    if "tar" not in layer.get("mediaType", "tar"):
        title = (layer.get("annotations") or {}).get("org.opencontainers.image.title", "")
        if title:
            target = root / Path(title).name
            shutil.copyfile(blob, target)
        return
    with tarfile.open(blob) as archive:
        for member in archive:
            if member.ischr() or member.isblk() or member.isfifo():
                continue
            parent, name = os.path.split(member.name.strip("/"))
            if name == _OPAQUE:
                shutil.rmtree(root / parent, ignore_errors=True)
                (root / parent).mkdir(parents=True)
            elif name.startswith(_WHITEOUT):
                _remove(root / parent / name.removeprefix(_WHITEOUT))
            else:
                _place(archive, member, root)


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    target = root / member.name.strip("/")
    if os.path.lexists(target) and not (member.isdir() and target.is_dir()):
        _remove(target)
    if member.isdir():
        member.mode |= 0o700
    archive.extract(member, root, set_attrs=True, filter="tar")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def image_command(image: Image, container: Mapping[str, Any]) -> list[str]:
    """Return entry point and arguments: ``command`` and ``args`` replace the image's.

    ``command`` without ``args`` drops the image's own arguments (kubernetes.io, "Define a Command
    and Arguments").
    """
    command, arguments = container.get("command"), container.get("args")
    if command:
        return [*command, *(arguments or ())]
    own = image.config.get("Entrypoint") or []
    return [*own, *(arguments or image.config.get("Cmd") or ())]
