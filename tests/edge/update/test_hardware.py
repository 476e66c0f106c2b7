"""What of this very machine goes into an update: measured speeds, and compiled engines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from edge_packages import Package, Publisher, make_package, make_release
from msgspec.structs import replace

from edge_components.contract.bench import BenchReport, BenchRow
from edge_components.contract.device import StoreSection
from edge_components.contract.digest import engine_key, sha256_digest
from edge_components.contract.hardware import PROFILES
from edge_components.contract.package import (
    FILEPATH,
    WEIGHT_TYPE,
    Descriptor,
    Manifest,
    layer_paths,
)
from edge_components.contract.release import (
    ReleaseDocument,
    parse_release,
    parse_release_envelope,
)
from edge_components.store.blobs import Partial
from edge_components.store.store import Store
from edge_components.store.versions import Documents
from edge_components.update import events
from edge_components.update.golden import GoldenCheck
from edge_components.update.machine import apply, begin, next_command
from edge_components.update.preparation import Preparation
from edge_components.update.record import Installed, Record
from edge_components.update.selection import needed_layers, usable_precisions

CPU = "CPUExecutionProvider"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store.open(tmp_path / "store")
    yield found
    found.close()


def bench(speeds: dict[str, float], hardware: str = "x86-64-cpu") -> BenchReport:
    return BenchReport(
        model="m",
        hardware=hardware,
        engine="onnxruntime 1",
        at_unix_s=0.0,
        rows=tuple(
            BenchRow(precision=name, provider=CPU, used=CPU, ok=True, median_ms=ms)
            for name, ms in speeds.items()
        ),
    )


def order(package: Package, measured: dict[str, float], wanted: str | None = None) -> list[str]:
    profile = PROFILES["x86-64-cpu"]
    return list(usable_precisions(profile, package.manifest, package.info, wanted, measured)[0])


def test_what_a_bench_measured_goes_before_the_profiles_preference(publisher: Publisher) -> None:
    package = make_package(publisher, {"int8": b"i", "fp32": b"f"})
    assert order(package, {}) == ["int8", "fp32"]
    assert order(package, {"int8": 5.0, "fp32": 2.0}) == ["fp32", "int8"]
    assert order(package, {"int8": 5.0, "fp32": 2.0}, wanted="int8") == ["int8"]


def test_the_store_reads_the_bench_of_this_hardware_only(store: Store, tmp_path: Path) -> None:
    assert store.measured("x86-64-cpu") == {}
    path = tmp_path / "store" / "bench.json"
    path.write_bytes(msgspec.json.encode(bench({"int8": 5.0, "fp32": 2.0})))
    assert store.measured("x86-64-cpu") == {"int8": 5.0, "fp32": 2.0}
    assert store.measured("raspberry-pi-4") == {}
    path.write_bytes(b"{")
    assert store.measured("x86-64-cpu") == {}


def activate(store: Store, publisher: Publisher, number: int, weights: bytes) -> None:
    package = make_package(publisher, {"int8": weights})
    files = layer_paths(package.manifest)
    for digest, data in package.blobs.items():
        if not store.blobs.has(digest, len(data)):
            with store.blobs.partial(digest, len(data)) as partial:
                partial.write(data)
                partial.finish()
    documents = Documents(
        release=make_release(publisher, package, number),
        manifest=package.manifest_bytes,
        signature=package.signature,
    )
    store.stage(number, documents, files)
    version = Installed(number=number, version="1", package=package.digest, precision="int8")
    store.change(lambda record: replace(record, active=version, previous=record.kept()[:1]))


def test_engines_go_with_the_last_version_of_their_weights(
    store: Store, tmp_path: Path, publisher: Publisher
) -> None:
    engines = tmp_path / "store" / "engines"
    left = []
    for number, weights in ((1, b"one"), (2, b"two"), (3, b"two")):
        activate(store, publisher, number, weights)
        folder = engines / engine_key([sha256_digest(weights)])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.engine").write_bytes(weights)
        store.forget_download()
        left.append(sorted(path.read_bytes() for path in engines.glob("*/model.engine")))
    assert left == [[b"one"], [b"one", b"two"], [b"two"]]


def test_the_golden_check_is_told_where_engines_are_kept(tmp_path: Path) -> None:
    said = tmp_path / "said"
    program = tmp_path / "runtime"
    program.write_text(f'#!/bin/sh\necho "$@" > {said}\necho \'{{"ok": true, "provider": "x"}}\'\n')
    program.chmod(0o755)
    check = GoldenCheck([str(program)], "jetson-orin", timeout_s=20, engines=tmp_path / "e")
    assert check.check(tmp_path, "fp16", threading.Event()).provider == "x"
    assert f"--engine-cache {tmp_path / 'e'}" in said.read_text()


def test_a_key_is_the_digest_of_one_file_and_covers_all_of_several() -> None:
    one, two = sha256_digest(b"1"), sha256_digest(b"2")
    assert engine_key([one, one]) == one.removeprefix("sha256:")
    assert engine_key([one, two]) == engine_key([two, one])
    assert engine_key([one, two]) not in {engine_key([one]), engine_key([two])}


def test_layers_of_the_runtime_and_of_the_store_give_the_same_key(publisher: Publisher) -> None:
    package = make_package(publisher, {"int8": b"i", "fp32": b"f"})
    manifest, info = package.manifest, package.info
    variant = info.variant("fp32")
    assert variant is not None
    of_runtime = engine_key(
        layer_paths(manifest)[path].digest for path in {variant.path, *variant.files}
    )
    weights = [
        layer.digest
        for layer in needed_layers(manifest, info, "fp32").values()
        if layer.media_type == WEIGHT_TYPE
    ]
    assert engine_key(weights) == of_runtime


@pytest.mark.parametrize(("found", "active"), [("fp32", "fp32"), ("", "int8"), ("fp16", "int8")])
def test_the_variant_that_won_becomes_active_and_no_other_word_does(
    found: str, active: str
) -> None:
    release = ReleaseDocument(application="m", number=1, version="1", package="sha256:" + "0" * 64)
    record = begin(Record(), "a1")
    for event in (
        events.ReleaseVerified(release=release),
        events.PackageVerified(application="m", precisions=("int8", "fp32")),
        events.Fetched(),
        events.Staged(),
        events.Checked(provider=CPU, precision=found),
    ):
        record = apply(record, event, application="m")
    assert record.active is not None
    assert record.active.precision == active
    assert record.update is not None
    assert record.update.precisions[0] == active


class Files:
    """A source that has the package, and counts what is asked of it."""

    def __init__(self, package: Package, envelope: bytes) -> None:
        self.package = package
        self.envelope = envelope
        self.fetched: list[str] = []

    def release(self, stop: threading.Event) -> bytes:
        return self.envelope

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        return self.package.manifest_bytes

    def signature(self, stop: threading.Event) -> bytes:
        return self.package.signature

    def keep_to(self, link: object) -> None:
        """Have no network whose limits could be kept to."""

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        self.fetched.append(layer.annotations[FILEPATH])
        partial.write(self.package.blobs[layer.digest])


class Believing:
    """Trusts everybody."""

    def release(self, envelope: bytes) -> ReleaseDocument:
        return parse_release(parse_release_envelope(envelope).payload_bytes())

    def package(self, bundle: bytes, manifest: Manifest) -> None:
        """Believe it."""


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (StoreSection(), {"int8"}),
        (StoreSection(compare_bytes=100), {"int8", "fp32"}),
        (StoreSection(compare_bytes=9), {"int8"}),
        (StoreSection(compare_bytes=1 << 20, max_bytes=70_000), {"int8"}),
    ],
    ids=["not wanted", "allowed", "too many bytes", "no room for both"],
)
def test_other_variants_are_fetched_within_the_sites_bytes_and_the_disk(
    tmp_path: Path, publisher: Publisher, limits: StoreSection, expected: set[str]
) -> None:
    size = 40_000 if limits.max_bytes else 50
    package = make_package(publisher, {"int8": b"i" * size, "fp32": b"f" * size})
    source = Files(package, make_release(publisher, package, 1))
    store = Store.open(tmp_path / "s", replace(limits, reserve_bytes=0))
    preparation = Preparation(store, Believing(), PROFILES["x86-64-cpu"], source)
    record, stop = begin(Record(), "a1"), threading.Event()
    while not isinstance(command := next_command(record), events.Check):
        assert command is not None
        event = preparation.carry_out(command, stop)
        record = apply(record, event, application=package.info.application)
        store.change(lambda _, record=record: record)  # type: ignore[misc]  # a default binds it
    here = store.versions.path(1) / "package"
    assert {path.parent.name for path in here.rglob("model.onnx")} == expected
    assert preparation.compares is (len(expected) > 1)
    store.close()
