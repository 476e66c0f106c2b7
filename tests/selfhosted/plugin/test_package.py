from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl import api


def request(fleet: Any, package: api.Package, release: api.Release) -> api.PackageRequest:
    return api.PackageRequest(target=fleet.target, package=package, release=release)


def layer_digests(package: api.Package) -> set[str]:
    blob = package.layout / "blobs" / "sha256" / api.digest_hex(package.digest)
    manifest = api.parse_manifest(blob.read_bytes(), digest=package.digest)
    return {layer.digest for layer in manifest.layers}


def test_a_device_gets_every_layer_the_manifest_and_the_release(
    fleet: Any, shop: Any, deploy: Callable[..., Any]
) -> None:
    device = fleet.device("cam")
    package = shop.package(docs=3)
    release = shop.release(1, package)
    fleet.provider.package(request(fleet, package, release))
    deploy(release, "cam")
    chunks = device.deployment()["deployment"]["chunks"]
    artifacts = {a["filename"]: a for chunk in chunks for a in chunk["artifacts"]}
    named = {"sha256:" + name.removeprefix("sha256-") for name in artifacts if "sha256-" in name}
    assert named == layer_digests(package)
    for name, artifact in artifacts.items():
        if name.startswith("sha256-"):
            assert name == f"sha256-{artifact['hashes']['sha256']}"
    assert device.download(artifacts[api.RELEASE_FILE]) == release.envelope
    assert device.download(artifacts[api.SIGNATURE_FILE]) == release.signature
    manifest = device.download(artifacts[api.MANIFEST_FILE])
    assert api.sha256_digest(manifest) == package.digest
    weights = next(iter(layer_digests(package)))
    assert api.sha256_digest(device.download(artifacts[weights.replace(":", "-")])) == weights


def test_the_same_release_again_sends_nothing(fleet: Any, shop: Any, wire: Any) -> None:
    package = shop.package()
    release = shop.release(1, package)
    first = fleet.provider.package(request(fleet, package, release))
    assert first.uploaded_bytes > package.size_bytes
    wire.clear()
    second = fleet.provider.package(request(fleet, package, release))
    assert (second.location, second.uploaded_bytes) == (first.location, 0)
    assert wire.writes == []


def test_a_new_release_of_the_same_package_sends_only_itself(fleet: Any, shop: Any) -> None:
    package = shop.package()
    fleet.provider.package(request(fleet, package, shop.release(1, package)))
    release = shop.release(2, package)
    result = fleet.provider.package(request(fleet, package, release))
    assert result.uploaded_bytes == len(release.envelope) + len(release.signature)


def test_equal_weights_of_another_package_are_not_sent_again(fleet: Any, shop: Any) -> None:
    first, second = shop.package(docs=1), shop.package(docs=2)
    assert first.digest != second.digest
    fleet.provider.package(request(fleet, first, shop.release(1, first)))
    result = fleet.provider.package(request(fleet, second, shop.release(2, second)))
    assert result.uploaded_bytes < 10_000 < sum(second.sizes.values())


def test_the_same_number_with_other_content_is_refused(fleet: Any, shop: Any) -> None:
    first, second = shop.package(seed="a"), shop.package(seed="b")
    fleet.provider.package(request(fleet, first, shop.release(1, first)))
    with pytest.raises(api.ConflictError, match="exists with other content"):
        fleet.provider.package(request(fleet, second, shop.release(1, second)))
    changed = shop.release(1, first, soak_s=99.0)
    with pytest.raises(api.ConflictError, match="exists with other content"):
        fleet.provider.package(request(fleet, first, changed))


def test_a_set_of_somebody_else_is_left_alone(fleet: Any, shop: Any, server: Any) -> None:
    with server.operator() as operator:
        body = [{"type": "app", "name": fleet.application, "version": "1", "modules": []}]
        operator.post("/rest/v1/distributionsets", json=body).raise_for_status()
    package = shop.package()
    with pytest.raises(api.ConflictError, match="edgectl did not make"):
        fleet.provider.package(request(fleet, package, shop.release(1, package)))


def test_a_module_of_somebody_else_is_left_alone(fleet: Any, shop: Any, server: Any) -> None:
    package = shop.package()
    fleet.provider.package(request(fleet, package, shop.release(1, package)))
    modules = "/rest/v1/softwaremodules"
    with server.operator() as operator:
        query = {"q": f"name=={fleet.application}.fp32"}
        (ours,) = operator.get(modules, params=query).json()["content"]
        other = {"type": "application", "name": ours["name"], "version": "theirs"}
        operator.post(modules, json=[other]).raise_for_status()
        operator.put(f"{modules}/{ours['id']}", json={"vendor": "them"}).raise_for_status()
    with pytest.raises(api.ConflictError, match="a module that edgectl did not make"):
        fleet.provider.package(request(fleet, package, shop.release(2, package)))


def test_many_documents_are_spread_over_modules(fleet: Any, shop: Any, server: Any) -> None:
    package = shop.package(docs=45)
    fleet.provider.package(request(fleet, package, shop.release(1, package)))
    with server.operator() as operator:
        query = {"q": f"name=={fleet.application}.package*"}
        found = operator.get("/rest/v1/softwaremodules", params=query).json()["content"]
    assert sorted(m["name"].removeprefix(fleet.application) for m in found) == [
        ".package",
        ".package.2",
        ".package.3",
    ]


def test_an_interrupted_upload_is_completed(fleet: Any, shop: Any) -> None:
    package = shop.package()
    release = shop.release(1, package)
    weights = shop.layout / "blobs" / "sha256"
    hidden = next(p for p in weights.iterdir() if p.stat().st_size == 10_000)
    data = hidden.read_bytes()
    hidden.unlink()
    with pytest.raises(api.PackageError, match="cannot be read"):
        fleet.provider.package(request(fleet, package, release))
    assert list(fleet.provider.history(history_of(fleet))) == []
    hidden.write_bytes(data)
    result = fleet.provider.package(request(fleet, package, release))
    assert result.uploaded_bytes < 40_000
    assert [r.number for r in fleet.provider.history(history_of(fleet))] == [1]


def test_a_blob_that_was_changed_is_refused_by_its_digest(fleet: Any, shop: Any) -> None:
    package = shop.package()
    blobs = shop.layout / "blobs" / "sha256"
    changed = next(p for p in blobs.iterdir() if p.stat().st_size == 10_000)
    changed.write_bytes(b"x" * 10_000)
    with pytest.raises(api.ProviderError):
        fleet.provider.package(request(fleet, package, shop.release(1, package)))
    assert list(fleet.provider.history(history_of(fleet))) == []


def test_of_two_that_make_the_same_number_one_wins(fleet: Any, shop: Any) -> None:
    packages = [shop.package(seed=seed) for seed in ("a", "b")]

    def attempt(package: api.Package) -> str:
        try:
            fleet.provider.package(request(fleet, package, shop.release(1, package)))
        except api.ConflictError:
            return ""
        return package.digest

    with ThreadPoolExecutor(2) as pool:
        winners = [digest for digest in pool.map(attempt, packages) if digest]
    (record,) = fleet.provider.history(history_of(fleet))
    assert winners == [record.package]


def elsewhere(package: api.Package, folder: Path) -> api.Package:
    return msgspec.structs.replace(package, layout=folder)


def test_a_package_that_is_nowhere_says_what_to_do(fleet: Any, shop: Any, tmp_path: Path) -> None:
    package = shop.package()
    moved = elsewhere(package, tmp_path / "nowhere")
    with pytest.raises(api.PackageError, match="neither in the local store nor at") as caught:
        fleet.provider.package(request(fleet, moved, shop.release(1, package)))
    assert "--pull" in caught.value.hint


def test_a_package_of_an_earlier_release_need_not_be_here(
    fleet: Any, shop: Any, tmp_path: Path, deploy: Callable[..., Any]
) -> None:
    device = fleet.device("cam")
    old, new = shop.package(seed="a"), shop.package(seed="b")
    fleet.provider.package(request(fleet, old, shop.release(1, old)))
    fleet.provider.package(request(fleet, new, shop.release(2, new)))
    back = shop.release(3, old)
    fleet.provider.package(request(fleet, elsewhere(old, tmp_path / "nowhere"), back))
    deploy(back, "cam")
    chunks = device.deployment()["deployment"]["chunks"]
    artifacts = {a["filename"]: a for chunk in chunks for a in chunk["artifacts"]}
    assert device.download(artifacts[api.RELEASE_FILE]) == back.envelope
    assert device.download(artifacts[api.SIGNATURE_FILE]) == back.signature
    named = {"sha256:" + name.removeprefix("sha256-") for name in artifacts if "sha256-" in name}
    assert named == layer_digests(old)


def history_of(fleet: Any) -> api.HistoryRequest:
    return api.HistoryRequest(target=fleet.target, application=fleet.application)


def test_history_tells_what_each_release_holds_newest_first(
    fleet: Any, publish: Callable[..., api.Release]
) -> None:
    made = [publish(number, seed=str(number)) for number in (1, 2, 10)]
    found = list(fleet.provider.history(history_of(fleet)))
    assert [r.number for r in found] == [10, 2, 1]
    assert [r.package for r in found] == [r.package for r in reversed(made)]
    assert found[0].content == made[-1].document.content_digest()
    assert found[0].version == "1.0.0"
    assert found[0].created_at is not None


def test_history_shows_nothing_of_others(fleet: Any, server: Any) -> None:
    with server.operator() as operator:
        body = [{"type": "app", "name": fleet.application, "version": "9", "modules": []}]
        operator.post("/rest/v1/distributionsets", json=body).raise_for_status()
    assert list(fleet.provider.history(history_of(fleet))) == []


def with_delta(package: api.Package, data: bytes) -> api.Delta:
    """Put a delta to the package's first file into its layout."""
    digest = api.sha256_digest(data)
    (package.layout / "blobs" / "sha256" / api.digest_hex(digest)).write_bytes(data)
    file = api.DeltaFile(
        old=api.sha256_digest(b"before"),
        new=min(layer_digests(package)),
        digest=digest,
        size=len(data),
    )
    return api.Delta(digest=digest, package=api.sha256_digest(b"package"), files=(file,))


def test_a_device_gets_deltas_by_name_and_they_are_sent_once(
    fleet: Any, shop: Any, deploy: Callable[..., Any]
) -> None:
    device = fleet.device("cam")
    package = shop.package()
    delta = with_delta(package, b"some delta")
    release = shop.release(1, package)
    wanted = msgspec.structs.replace(request(fleet, package, release), deltas=(delta,))
    assert fleet.provider.package(wanted).uploaded_bytes > package.size_bytes + len(b"some delta")
    assert fleet.provider.package(wanted).uploaded_bytes == 0
    deploy(release, "cam")
    chunks = device.deployment()["deployment"]["chunks"]
    artifacts = {a["filename"]: a for chunk in chunks for a in chunk["artifacts"]}
    name = api.delta_file_name(delta.files[0].old, delta.files[0].new)
    assert device.download(artifacts[name]) == b"some delta"


def test_deltas_that_come_after_their_release_are_told_to_be_late(
    fleet: Any, shop: Any, wire: Any, progress: list[str]
) -> None:
    package = shop.package()
    plain = request(fleet, package, shop.release(1, package))
    fleet.provider.package(plain)
    late = msgspec.structs.replace(plain, deltas=(with_delta(package, b"late"),))
    wire.clear()
    assert fleet.provider.package(late).uploaded_bytes == 0
    assert wire.writes == []
    assert "release 1 was published before its deltas were made" in progress[-1]
