"""Layers put on images in registries, with skopeo and a real registry as the second opinion."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from edgectl.api import append_layer, image_digest
from edgectl.emulation.registry import RegistryServer
from edgectl.errors import PackageError, RegistryError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = f"{MANIFEST}, {INDEX}"
FILES = {"etc/edgectl/release.json": b"{}", "app/model.onnx": b"\x08" * 5000}


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Web:
    """What a registry has, read and written past our own client."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._pool = urllib3.PoolManager(retries=False, timeout=20)

    def get(self, repository: str, path: str) -> bytes:
        url = f"http://{self.host}/v2/{repository}/{path}"
        answer = self._pool.request("GET", url, headers={"Accept": f"{ACCEPT}, {DOCKER}"})
        assert answer.status == 200, answer.data
        return bytes(answer.data)

    def json(self, repository: str, path: str) -> Any:
        return json.loads(self.get(repository, path))

    def blob(self, repository: str, data: bytes, kind: str) -> dict[str, Any]:
        uploads = f"http://{self.host}/v2/{repository}/blobs/uploads/"
        place = self._pool.request("POST", uploads).headers["Location"]
        place = place if "://" in place else f"http://{self.host}{place}"
        answer = self._pool.request("PUT", f"{place}&digest={sha(data)}", body=data)
        assert answer.status == 201, answer.data
        return {"mediaType": kind, "digest": sha(data), "size": len(data)}

    def manifest(self, repository: str, tag: str, document: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(document).encode()
        headers = {"Content-Type": document["mediaType"]}
        url = f"http://{self.host}/v2/{repository}/manifests/{tag or sha(data)}"
        answer = self._pool.request("PUT", url, body=data, headers=headers)
        assert answer.status == 201, answer.data
        return {"mediaType": document["mediaType"], "digest": sha(data), "size": len(data)}

    def image(self, repository: str, tag: str = "1", arch: str = "amd64") -> dict[str, Any]:
        """Push an image with one compressed layer."""
        tar = layer_tar({"bin/tool": arch.encode() * 3000})
        config = {
            "architecture": arch,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin", "MODE=old"], "Entrypoint": ["/bin/tool"]},
            "rootfs": {"type": "layers", "diff_ids": [sha(tar)]},
            "history": [{"created_by": "base"}],
        }
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(repository, json.dumps(config).encode(), CONFIG),
            "layers": [self.blob(repository, gzip.compress(tar, mtime=0), kind)],
            "annotations": {"org.example.kept": "yes"},
        }
        return self.manifest(repository, tag, document)

    def close(self) -> None:
        self._pool.clear()


def layer_tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    """Our registry."""
    with RegistryServer(tmp_path / "registry") as started:
        yield started


@pytest.fixture
def web_of() -> Iterator[Callable[[str], Web]]:
    """Return a function that makes a plain client of a registry."""
    made: list[Web] = []

    def make(host: str) -> Web:
        made.append(Web(host))
        return made[-1]

    yield make
    for web in made:
        web.close()


@pytest.fixture
def web(server: RegistryServer, web_of: Callable[[str], Web]) -> Web:
    """A plain client of our registry."""
    return web_of(server.host)


def test_a_layer_is_put_on_top(web: Web) -> None:
    web.image("base")
    made = append_layer(f"{web.host}/base:1", FILES, f"{web.host}/out:r1")
    manifest = web.json("out", "manifests/r1")
    config = web.json("out", f"blobs/{manifest['config']['digest']}")
    tar = web.get("out", f"blobs/{manifest['layers'][1]['digest']}")
    assert sha(web.get("out", "manifests/r1")) == made.digest
    assert [one["mediaType"][-8:] for one in manifest["layers"]] == ["tar+gzip", "r.v1.tar"]
    assert config["rootfs"]["diff_ids"][1] == sha(tar)
    assert config["history"] == [{"created_by": "base"}, {"created_by": "edgectl"}]
    assert config["config"]["Entrypoint"] == ["/bin/tool"]
    assert manifest["annotations"] == {"org.example.kept": "yes"}


def test_the_layer_has_only_the_files_without_clock_or_owner(web: Web) -> None:
    append_layer("scratch", FILES, f"{web.host}/out:1", platforms=("linux/amd64",))
    digest = web.json("out", "manifests/1")["layers"][0]["digest"]
    with tarfile.open(fileobj=io.BytesIO(web.get("out", f"blobs/{digest}"))) as archive:
        members = archive.getmembers()
    assert [one.name for one in members] == ["app/model.onnx", "etc/edgectl/release.json"]
    assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in members} == {
        (0, 0, 0, "", 0o644)
    }


def test_the_same_again_sends_nothing_and_gives_the_same_digest(web: Web, tmp_path: Path) -> None:
    web.image("base")
    folder = tmp_path / "files"
    for name in reversed(FILES):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(FILES[name])
    first = append_layer(f"{web.host}/base:1", FILES, f"{web.host}/out:r1")
    again = append_layer(f"{web.host}/base:1", folder, f"{web.host}/out:r1")
    assert (again.digest, again.uploaded_bytes) == (first.digest, 0)


def test_a_program_stays_one(web: Web, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o700)
    append_layer("scratch", {"run": tmp_path / "run"}, f"{web.host}/o:1", platforms=("linux/arm",))
    digest = web.json("o", "manifests/1")["layers"][0]["digest"]
    with tarfile.open(fileobj=io.BytesIO(web.get("o", f"blobs/{digest}"))) as archive:
        assert archive.getmember("run").mode == 0o755


def test_variables_are_added_and_replaced(web: Web) -> None:
    web.image("base")
    env = {"MODE": "new", "APP": "plates"}
    append_layer(f"{web.host}/base:1", FILES, f"{web.host}/out:1", environment=env)
    config = web.json("out", "manifests/1")["config"]["digest"]
    listed = web.json("out", f"blobs/{config}")["config"]["Env"]
    assert listed == ["PATH=/bin", "APP=plates", "MODE=new"]


def test_what_the_same_registry_has_is_mounted(web: Web, server: RegistryServer) -> None:
    web.image("base")
    (layer,) = web.json("base", "manifests/1")["layers"]
    server.requests.clear()
    append_layer(f"{web.host}/base:1", FILES, f"{web.host}/out:1")
    fetched = [path for _, path, *_ in server.requests if path.endswith(layer["digest"])]
    assert fetched == [f"/v2/out/blobs/{layer['digest']}"]
    assert ("POST", "/v2/out/blobs/uploads/", 201) in server.requests


def test_a_layer_is_put_on_an_image_of_the_same_repository(web: Web) -> None:
    base = web.image("app")
    made = append_layer(f"{web.host}/app:1", FILES, f"{web.host}/app:2")
    assert made.uploaded_bytes < 10_000 + 5_000
    assert sha(web.get("app", "manifests/1")) == base["digest"]


def test_another_registrys_image_is_copied(
    web: Web, web_of: Callable[[str], Web], tmp_path: Path
) -> None:
    with RegistryServer(tmp_path / "other") as other:
        there = web_of(other.host)
        web.image("base")
        append_layer(f"{web.host}/base:1", FILES, f"{other.host}/out:1")
        manifest = there.json("out", "manifests/1")
        base = web.json("base", "manifests/1")
        assert manifest["layers"][0] == base["layers"][0]
        copied = there.get("out", f"blobs/{base['layers'][0]['digest']}")
        assert copied == web.get("base", f"blobs/{base['layers'][0]['digest']}")


def test_every_platform_of_an_index_gets_the_layer(web: Web) -> None:
    entries = [
        {**web.image("base", arch, arch), "platform": {"os": "linux", "architecture": arch}}
        for arch in ("amd64", "arm64")
    ]
    note = {**web.image("base", "note", "x"), "platform": {"os": "unknown", "architecture": "?"}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, note]}
    web.manifest("base", "all", index)
    made = append_layer(f"{web.host}/base:all", FILES, f"{web.host}/out:1")
    listed = web.json("out", f"manifests/{made.digest}")["manifests"]
    assert [one["platform"]["architecture"] for one in listed] == ["amd64", "arm64"]
    manifests = [web.json("out", f"manifests/{one['digest']}") for one in listed]
    assert len({one["layers"][1]["digest"] for one in manifests}) == 1
    assert len({one["layers"][0]["digest"] for one in manifests}) == 2


def test_an_image_on_nothing_is_there_for_each_platform(web: Web) -> None:
    made = append_layer("scratch", FILES, f"{web.host}/out")
    listed = web.json("out", f"manifests/{made.digest}")["manifests"]
    assert [one["platform"] for one in listed] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64"},
    ]


def test_skopeo_copies_and_reads_the_image_from_a_real_registry(
    registry: str, skopeo: str, web_of: Callable[[str], Web], tmp_path: Path
) -> None:
    web_of(registry).image("images/base")
    made = append_layer(f"{registry}/images/base:1", FILES, f"{registry}/images/out:1")
    layout = f"oci:{tmp_path}/image:1"
    source = f"docker://{registry}/images/out@{made.digest}"
    subprocess.run(
        [skopeo, "copy", "--src-tls-verify=false", source, layout], check=True, timeout=60
    )
    said = subprocess.run([skopeo, "inspect", layout], check=True, capture_output=True, timeout=60)
    found = json.loads(said.stdout)
    assert (found["Architecture"], len(found["Layers"])) == ("amd64", 2)


def test_an_image_in_dockers_format_becomes_one_in_ocis(
    server: RegistryServer, skopeo: str, web: Web
) -> None:
    web.image("base")
    copy = [skopeo, "copy", "--format=v2s2", "--src-tls-verify=false", "--dest-tls-verify=false"]
    names = [f"docker://{web.host}/{name}:1" for name in ("base", "docker")]
    subprocess.run([*copy, *names], check=True, timeout=60)
    assert web.json("docker", "manifests/1")["mediaType"] == DOCKER
    append_layer(f"{web.host}/docker:1", FILES, f"{web.host}/out:1")
    manifest = web.json("out", "manifests/1")
    kinds = {manifest["mediaType"], manifest["config"]["mediaType"]}
    assert kinds | {one["mediaType"] for one in manifest["layers"]} == {
        MANIFEST,
        CONFIG,
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    }


def test_a_tag_is_resolved_to_a_digest(web: Web) -> None:
    assert image_digest(f"{web.host}/base:{web.image('base') and 1}").startswith("sha256:")


def test_an_image_that_is_not_there_is_named(web: Web) -> None:
    with pytest.raises(RegistryError, match="has no image '9' in 'base'"):
        append_layer(f"{web.host}/base:9", FILES, f"{web.host}/out")


def test_what_is_no_image_is_refused(web: Web) -> None:
    web.image("base")
    document = web.json("base", "manifests/1")
    document["config"]["mediaType"] = "application/vnd.cncf.model.config.v1+json"
    web.manifest("base", "model", document)
    with pytest.raises(PackageError, match="which is not of an image"):
        append_layer(f"{web.host}/base:model", FILES, f"{web.host}/out")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/.wh.b", "a//b", ""])
def test_a_path_that_is_not_plain_is_refused(web: Web, name: str) -> None:
    with pytest.raises(PackageError):
        append_layer("scratch", {name: b""}, f"{web.host}/out")


def test_a_link_is_not_followed(web: Web, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x").symlink_to("/etc/hostname")
    with pytest.raises(PackageError, match="it is a link"):
        append_layer("scratch", tmp_path / "files", f"{web.host}/out")
