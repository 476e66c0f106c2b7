"""Deltas between packages: which are made and kept, and how they reach a node's cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper, save

from edge_components.contract.delta import DELTAS_TYPE, parse_delta_file_name
from edge_components.contract.digest import digest_hex
from edge_components.contract.package import Descriptor, layer_paths
from edge_components.contract.release import ReleaseDocument
from edge_components.delta.apply import apply_delta
from edge_components.oci import FetchSettings, fetch_release
from edgectl.api import delta_file_name, push_package, push_release
from edgectl.emulation.registry import RegistryServer
from edgectl.errors import PackageError
from edgectl.package.build import PackageContent, build_package
from edgectl.package.delta_build import make_deltas
from edgectl.package.deltas import find_deltas
from edgectl.package.keys import SigningKey
from edgectl.package.referrers import find_signatures
from edgectl.package.sign import sign_package, sign_release
from edgectl.package.store import Layout
from edgectl.records import Package
from edgectl.workflow.transfers import Now, Transfer, plan_transfers

FP32, DATA, INT8 = "model/fp32/model.onnx", "model/fp32/model.onnx.data", "model/int8/model.onnx"
WEIGHTS = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
CPU = "x86-64-cpu"


def onnx(path: Path, weights: Any, *, outside: bool = False) -> Path:
    """Write a model with one tensor, and with its data in a file beside it if ``outside``."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(weights * 2, "v")]
    model = helper.make_model(helper.make_graph([node], "g", [value], [answer], tensors))
    if outside:
        external_data_helper.convert_model_to_external_data(
            model, location="model.onnx.data", size_threshold=0
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, str(path))
    return path


class Shop:
    """Builds versions of one application in one layout."""

    def __init__(self, make: Callable[..., PackageContent], folder: Path, key: SigningKey) -> None:
        self._make = make
        self._folder = folder
        self._key = key
        self.layout = folder / "store"

    def build(self, version: str, fp32: Any, int8: bytes = b"", **changes: Any) -> Package:
        folder = self._folder / version
        model = onnx(folder / "fp32" / "model.onnx", fp32, outside=True)
        quantized = folder / "int8.onnx"
        quantized.write_bytes(int8 or b"int8 of all versions " * 4000)
        content = self._make(
            folder / "source",
            version=version,
            files={FP32: model, DATA: model.with_name("model.onnx.data"), INT8: quantized},
        )
        content = msgspec.structs.replace(content, **changes)
        built = build_package(content, self.layout)
        sign_package(self.layout, built.digest, self._key)
        return built

    def blob(self, digest: str) -> Path:
        return Layout.open(self.layout).blob_path(digest)


@pytest.fixture
def shop(make_content: Callable[..., PackageContent], tmp_path: Path, key: SigningKey) -> Shop:
    return Shop(make_content, tmp_path, key)


@pytest.fixture
def pair(shop: Shop) -> tuple[Package, Package]:
    """Two versions: a hundredth of the float weights has changed, the int8 variant has not."""
    later = WEIGHTS.copy()
    later[::100] += 0.01
    return shop.build("1", WEIGHTS), shop.build("2", later)


def layer(shop: Shop, package: Package, path: str) -> Descriptor:
    return layer_paths(Layout.open(shop.layout).read_manifest(package.digest))[path]


def test_external_tensors_are_matched_and_the_delta_makes_their_file(
    shop: Shop, pair: tuple[Package, Package]
) -> None:
    old, new = pair
    report = make_deltas(shop.layout, new.digest, old.digest)
    (weighed,) = report.files
    assert (weighed.path, weighed.kept, report.version) == (DATA, True, "1")
    assert weighed.delta < 0.05 * weighed.size
    assert report.made is not None
    (file,) = report.made.files
    assert file.new == layer(shop, new, DATA).digest
    out = bytearray()
    with shop.blob(file.digest).open("rb") as delta:
        apply_delta(shop.blob(file.old), delta, out.extend)
    assert bytes(out) == shop.blob(file.new).read_bytes()


def test_deltas_lie_beside_the_package_and_are_found_again(
    shop: Shop, pair: tuple[Package, Package]
) -> None:
    old, new = pair
    assert find_deltas(shop.layout, new.digest) == ()
    made = make_deltas(shop.layout, new.digest, old.digest).made
    assert make_deltas(shop.layout, new.digest, old.digest).made == made
    assert find_deltas(shop.layout, new.digest) == (made,)
    assert find_deltas(shop.layout, old.digest) == ()
    store = Layout.open(shop.layout)
    assert store.resolve("plates:2") == new.digest
    assert len(list(find_signatures(store, new.digest))) == 1
    listed = [one for one in store.index().manifests if one.artifact_type == DELTAS_TYPE]
    assert len(listed) == 1


def test_a_delta_that_saves_little_is_told_and_not_kept(shop: Shop) -> None:
    old = shop.build("1", WEIGHTS)
    other = np.random.default_rng(2).standard_normal(len(WEIGHTS)).astype(np.float32)
    report = make_deltas(shop.layout, shop.build("2", other).digest, old.digest)
    (weighed,) = report.files
    assert not weighed.kept
    assert weighed.delta > 0.8 * weighed.size
    assert report.made is None


def test_a_package_without_other_weights_has_nothing_to_make(shop: Shop) -> None:
    old = shop.build("1", WEIGHTS)
    report = make_deltas(shop.layout, shop.build("2", WEIGHTS).digest, old.digest)
    assert (report.files, report.made) == ((), None)


def test_what_is_no_pair_of_packages_is_refused(
    shop: Shop, pair: tuple[Package, Package], make_content: Callable[..., PackageContent]
) -> None:
    old, new = pair
    with pytest.raises(PackageError, match="is the one that a delta is wanted to"):
        make_deltas(shop.layout, new.digest, new.digest)
    other = build_package(make_content(application="boats"), shop.layout)
    with pytest.raises(PackageError, match="is of 'boats', not of 'plates'"):
        make_deltas(shop.layout, new.digest, other.digest)
    blob = shop.blob(layer(shop, old, DATA).digest)
    blob.chmod(0o644)
    blob.write_bytes(bytes(blob.stat().st_size))
    with pytest.raises(PackageError, match=r"the content of 'model/fp32/model.onnx.data'.*changed"):
        make_deltas(shop.layout, new.digest, old.digest)


def test_deltas_without_their_bytes_are_left_out(shop: Shop, pair: tuple[Package, Package]) -> None:
    old, new = pair
    made = make_deltas(shop.layout, new.digest, old.digest).made
    assert made is not None
    shop.blob(made.files[0].digest).unlink()
    assert find_deltas(shop.layout, new.digest) == ()


def test_a_deltas_file_name_says_both_digests() -> None:
    old, new = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert parse_delta_file_name(delta_file_name(old, new)) == (old, new)
    for name in ("", "edgectl-delta.", "edgectl-delta.a.b", delta_file_name(old, new) + "0"):
        assert parse_delta_file_name(name) is None


# -- to a node


@pytest.fixture(params=[True, False], ids=["referrers-api", "tag-schema"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path / "registry", referrers_api=request.param) as server:
        yield server


def test_a_node_fetches_the_delta_to_what_its_cache_has(
    shop: Shop,
    pair: tuple[Package, Package],
    key: SigningKey,
    server: RegistryServer,
    tmp_path: Path,
) -> None:
    old, new = pair
    make_deltas(shop.layout, new.digest, old.digest)
    place = f"{server.host}/plates"
    settings = FetchSettings(cache=tmp_path / "cache", reserve_bytes=0)

    def bring(package: Package, number: int) -> set[str]:
        """Publish and fetch a release; return the hex digests of the blobs that were asked for."""
        deltas = find_deltas(shop.layout, package.digest)
        push_package(shop.layout, package.digest, place, deltas=deltas)
        assert push_package(shop.layout, package.digest, place, deltas=deltas) == 0
        document = ReleaseDocument(
            application="plates", number=number, version=package.version, package=package.digest
        )
        envelope = sign_release(document, b"", key).envelope
        made = push_release(envelope, package.digest, place, "plates", number)
        server.requests.clear()
        folder = tmp_path / f"fetched-{number}"
        fetch_release(place, made.digest, folder, settings=settings)
        for one in layer_paths(Layout.open(shop.layout).read_manifest(package.digest)).values():
            name = digest_hex(one.digest)
            assert (folder / name).read_bytes() == shop.blob(one.digest).read_bytes()
        asked = [path for method, path, _status in server.requests if method == "GET"]
        return {path.rpartition(":")[2] for path in asked if "/blobs/" in path}

    whole, variant = (digest_hex(layer(shop, new, path).digest) for path in (DATA, INT8))
    assert digest_hex(layer(shop, old, DATA).digest) in bring(old, 1)
    (delta,) = find_deltas(shop.layout, new.digest)
    fetched = bring(new, 2)
    assert digest_hex(delta.files[0].digest) in fetched
    assert whole not in fetched
    assert variant not in fetched
    assert not list((tmp_path / "cache/blobs").rglob(digest_hex(delta.files[0].digest)))


# -- in a plan


def transfers(package: Package, now: Now, deltas: bool = True) -> Transfer:
    found = find_deltas(package.layout, package.digest) if deltas else None
    (one,) = plan_transfers(package, [now, now], deltas=found)
    assert one.devices == 2
    return one


def test_a_plan_tells_what_travels_whole_by_delta_and_not_at_all(
    shop: Shop, pair: tuple[Package, Package]
) -> None:
    old, new = pair
    made = make_deltas(shop.layout, new.digest, old.digest).made
    assert made is not None
    data, quantized = layer(shop, new, DATA), layer(shop, new, INT8)
    # This profile prefers int8, which has not changed.
    one = transfers(new, Now(CPU, 1, old.digest))
    assert (one.variant, one.delta_bytes, one.from_release) == ("int8", 0, 1)
    assert one.unchanged_bytes > quantized.size
    assert one.fetched_bytes < 5_000
    # All variants count for a device whose hardware is not known.
    one = transfers(new, Now("", 1, old.digest))
    assert (one.delta_bytes, one.replaced_bytes) == (made.files[0].size, data.size)
    first = transfers(new, Now(CPU, None, ""))
    assert (first.unchanged_bytes, first.delta_bytes) == (0, 0)
    assert first.whole_bytes == new.size_bytes - new.sizes["fp32"]
    assert "2 devices (x86-64-cpu, int8) with nothing: each fetches" in first.text()


def test_a_plan_counts_every_file_where_devices_do_not_fetch_by_themselves(
    shop: Shop, pair: tuple[Package, Package]
) -> None:
    old, new = pair
    one = transfers(new, Now(CPU, 1, old.digest), deltas=False)
    assert (one.whole_bytes, one.unchanged_bytes) == (new.size_bytes, 0)


def test_a_plan_counts_an_unknown_package_as_nothing_and_tells_nothing_of_a_foreign_one(
    shop: Shop, pair: tuple[Package, Package]
) -> None:
    old, new = pair
    make_deltas(shop.layout, new.digest, old.digest)
    unknown = "sha256:" + os.urandom(32).hex()
    one = transfers(new, Now("", 7, unknown))
    assert (one.unchanged_bytes, one.delta_bytes, one.whole_bytes) == (0, 0, new.size_bytes)
    foreign = msgspec.structs.replace(new, digest=unknown)
    assert plan_transfers(foreign, [Now(CPU, 1, new.digest)], deltas=()) == ()
