"""A release fetched into a folder, from a registry that does what registries do on bad days."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from edge_packages import Publisher, make_package
from msgspec.structs import replace
from releases import REPOSITORY, Misbehaving, Published, publish

from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import SIGNATURE_FILE
from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE
from edge_components.contract.state import Reason
from edge_components.oci import FetchSettings, fetch_release
from edge_components.oci.http import Access
from edge_components.update.errors import CalledOffError, RefusedError

HARDWARE = "x86-64-cpu"


def assert_delivered(folder: Path, published: Published, *precisions: str) -> None:
    """Check documents and files, byte for byte, and that nothing else is there."""
    package = published.package
    assert (folder / RELEASE_FILE).read_bytes() == published.envelope
    assert (folder / MANIFEST_FILE).read_bytes() == package.manifest_bytes
    assert (folder / SIGNATURE_FILE).read_bytes() == package.signature
    files = {p.name for p in folder.iterdir()} - {RELEASE_FILE, MANIFEST_FILE, SIGNATURE_FILE}
    expected = {
        digest.removeprefix("sha256:")
        for path, digest in (
            (layer.annotations["org.cncf.model.filepath"], layer.digest)
            for layer in package.manifest.layers
        )
        if not path.endswith("model.onnx") or path.split("/")[0] in precisions
    }
    assert files == expected
    for name in files:
        assert sha256_digest((folder / name).read_bytes()) == f"sha256:{name}"


def refusal(call: Callable[[], object]) -> tuple[Reason, str]:
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value.reason, caught.value.detail


def test_only_the_best_variant_of_this_hardware_is_fetched(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    delivery = fetch_release(
        registry.reference, one.digest, tmp_path / "d", hardware=HARDWARE, settings=quick
    )
    assert delivery.folder == tmp_path / "d"
    assert_delivered(tmp_path / "d", one, "int8")


@pytest.mark.slow
def test_every_variant_is_fetched_where_asked_or_where_the_hardware_is_not_known(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    fetch_release(registry.reference, one.digest, tmp_path / "a", settings=quick)
    assert_delivered(tmp_path / "a", one, "int8", "fp32")
    every = replace(quick, all_variants=True)
    fetch_release(registry.reference, one.digest, tmp_path / "b", hardware=HARDWARE, settings=every)
    assert_delivered(tmp_path / "b", one, "int8", "fp32")


@pytest.mark.slow
def test_the_variant_that_the_release_asks_for_is_fetched(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher, precision="fp32"))
    fetch_release(registry.reference, one.digest, tmp_path, hardware=HARDWARE, settings=quick)
    assert_delivered(tmp_path, one, "fp32")


def test_a_package_that_does_not_fit_is_refused_before_its_weights_are_fetched(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher, weights={"fp16": b"x" * 50}))
    found, _ = refusal(
        lambda: fetch_release(
            registry.reference, one.digest, tmp_path, hardware=HARDWARE, settings=quick
        )
    )
    assert found is Reason.HARDWARE_MISMATCH
    weights = sha256_digest(b"x" * 50)
    assert not registry.counts[f"/v2/{REPOSITORY}/blobs/{weights}"]


def test_a_second_call_fetches_no_file_again(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    cached = replace(quick, cache=tmp_path / "cache")
    for folder in ("a", "a", "b"):
        fetch_release(registry.reference, one.digest, tmp_path / folder, settings=cached)
    blobs = [path for path in registry.counts if "/blobs/" in path]
    assert blobs
    assert all(registry.counts[path] == 1 for path in blobs), registry.counts
    assert_delivered(tmp_path / "b", one, "int8", "fp32")


def test_a_blob_that_is_cut_off_is_continued_where_it_broke(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher, weights={"int8": os.urandom(200_000)}))
    registry.cut = [70_000, 60_000]
    fetch_release(registry.reference, one.digest, tmp_path, hardware=HARDWARE, settings=quick)
    assert_delivered(tmp_path, one, "int8")
    assert len(registry.ranges) == 2
    first, second = (int(asked.removeprefix("bytes=").rstrip("-")) for asked in registry.ranges)
    assert 0 < first <= 70_000
    assert first < second <= 130_000


@pytest.mark.slow
def test_a_document_that_is_cut_off_is_read_again(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    registry.cut = [20]
    fetch_release(registry.reference, one.digest, tmp_path, settings=quick)
    assert_delivered(tmp_path, one, "int8", "fp32")


@pytest.mark.parametrize("kind", ["release", "package", "envelope", "weights"])
def test_bytes_that_have_another_digest_are_refused(
    kind: str,
    registry: Misbehaving,
    publisher: Publisher,
    quick: FetchSettings,
    tmp_path: Path,
) -> None:
    one = registry.add(publish(publisher, weights={"int8": b"w" * 500}))
    digest = {
        "release": one.digest,
        "package": one.package.digest,
        "envelope": sha256_digest(one.envelope),
        "weights": sha256_digest(b"w" * 500),
    }[kind]
    right = registry.find("blobs" if kind in {"envelope", "weights"} else "manifests", digest)
    assert right is not None
    registry.replaced[digest] = right[:-1] + bytes([right[-1] ^ 1])
    found, _ = refusal(
        lambda: fetch_release(registry.reference, one.digest, tmp_path, settings=quick)
    )
    assert found is Reason.DIGEST_MISMATCH
    assert not (tmp_path / RELEASE_FILE).exists()


def test_a_release_that_is_of_another_package_than_its_manifest_says_is_refused(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = publish(publisher)
    other = make_package(publisher, {"int8": b"other"})
    mixed = registry.add(publish(publisher, package=other))
    wrong = json.loads(mixed.manifests[mixed.digest])
    wrong["subject"]["digest"] = one.package.digest
    data = json.dumps(wrong).encode()
    mixed.manifests[sha256_digest(data)] = data
    found, detail = refusal(
        lambda: fetch_release(registry.reference, sha256_digest(data), tmp_path, settings=quick)
    )
    assert found is Reason.BAD_PACKAGE
    assert one.package.digest in detail


def test_a_package_that_nobody_signed_is_refused(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    one.signatures.clear()
    found, _ = refusal(
        lambda: fetch_release(registry.reference, one.digest, tmp_path, settings=quick)
    )
    assert found is Reason.BAD_SIGNATURE


def test_the_signature_of_a_trusted_publisher_is_taken_among_several(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    models = {"int8": b"i" * 3000, "fp32": b"f" * 9}
    second = Publisher()
    bundle = make_package(second, models).signature
    one.sign(second, bundle)
    hints = frozenset({second.hint})
    fetch_release(registry.reference, one.digest, tmp_path, hints=hints, settings=quick)
    assert (tmp_path / SIGNATURE_FILE).read_bytes() == bundle


def test_signatures_are_found_by_the_tag_schema_where_there_is_no_referrers_api(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    registry.has_referrers = False
    one = registry.add(publish(publisher))
    fetch_release(registry.reference, one.digest, tmp_path, settings=quick)
    assert_delivered(tmp_path, one, "int8", "fp32")


def test_a_registry_that_asks_to_wait_is_asked_again(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    registry.answers = [(429, {"Retry-After": "0"}), (503, {})]
    fetch_release(registry.reference, one.digest, tmp_path, settings=quick)
    assert_delivered(tmp_path, one, "int8", "fp32")


def test_a_registry_that_goes_on_refusing_is_given_up(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    registry.answers = [(429, {})] * 50
    found, detail = refusal(
        lambda: fetch_release(registry.reference, one.digest, tmp_path, settings=quick)
    )
    assert found is Reason.DOWNLOAD_FAILED
    assert "429" in detail
    assert len(registry.answers) == 47


def test_what_is_not_there_is_asked_for_once(
    registry: Misbehaving, quick: FetchSettings, tmp_path: Path
) -> None:
    absent = "sha256:" + "0" * 64
    found, detail = refusal(
        lambda: fetch_release(registry.reference, absent, tmp_path, settings=quick)
    )
    assert found is Reason.DOWNLOAD_FAILED
    assert "404" in detail
    assert sum(registry.counts.values()) == 1


def login(path: Path, host: str, **auth: str) -> Path:
    path.write_text(json.dumps({"auths": {f"https://{host}/v1/": auth}}))
    return path


def test_a_bearer_token_is_fetched_with_the_name_and_password_of_the_file(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    registry.user = ("reader", "geheim")
    one = registry.add(publish(publisher))
    pair = base64.b64encode(b"reader:geheim").decode()
    file = login(tmp_path / "auth.json", registry.host, auth=pair)
    folder = tmp_path / "d"
    fetch_release(registry.reference, one.digest, folder, auth_file=file, settings=quick)
    assert_delivered(folder, one, "int8", "fp32")
    assert registry.counts["/token"] == 1


@pytest.mark.slow
def test_an_identity_token_is_exchanged(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    registry.user, registry.refresh_token = ("", ""), "refresh-me"
    one = registry.add(publish(publisher))
    pair = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
    file = login(tmp_path / "auth.json", registry.host, auth=pair, identitytoken="refresh-me")
    folder = tmp_path / "d"
    fetch_release(registry.reference, one.digest, folder, auth_file=file, settings=quick)
    assert_delivered(folder, one, "int8", "fp32")


def test_a_token_that_runs_out_in_the_middle_is_fetched_anew(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    registry.user = ("reader", "geheim")
    one = registry.add(publish(publisher, weights={"int8": os.urandom(90_000)}))
    registry.cut = [30_000]

    registry.on_blob = registry.tokens.clear
    file = login(tmp_path / "auth.json", registry.host, username="reader", password="geheim")
    folder = tmp_path / "d"
    fetch_release(
        registry.reference, one.digest, folder, hardware=HARDWARE, auth_file=file, settings=quick
    )
    assert_delivered(folder, one, "int8")
    assert registry.counts["/token"] > 1
    assert not registry.cut


@pytest.mark.parametrize("password", ["wrong", None])
def test_who_is_not_let_in_is_told_so_at_once(
    password: str | None,
    registry: Misbehaving,
    publisher: Publisher,
    quick: FetchSettings,
    tmp_path: Path,
) -> None:
    registry.user = ("reader", "geheim")
    one = registry.add(publish(publisher))
    file = tmp_path / "auth.json"
    if password:
        login(file, registry.host, username="reader", password=password)
    found, detail = refusal(
        lambda: fetch_release(
            registry.reference, one.digest, tmp_path / "d", auth_file=file, settings=quick
        )
    )
    assert found is Reason.DOWNLOAD_FAILED
    assert "401" in detail
    assert "geheim" not in detail
    assert registry.counts["/token"] == 1


@pytest.mark.slow
def test_a_password_stays_with_the_registry_when_a_blob_lies_elsewhere(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    registry.user = ("reader", "geheim")
    one = registry.add(publish(publisher))
    elsewhere = Misbehaving()
    try:
        elsewhere.add(one)
        registry.redirect_to = f"http://{elsewhere.host}"
        file = login(tmp_path / "auth.json", registry.host, username="reader", password="geheim")
        folder = tmp_path / "d"
        fetch_release(registry.reference, one.digest, folder, auth_file=file, settings=quick)
    finally:
        elsewhere.close()
    assert_delivered(folder, one, "int8", "fp32")
    assert set(elsewhere.seen_authorization) == {""}


@pytest.mark.slow
def test_a_damaged_file_of_the_cache_is_fetched_again(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    cached = replace(quick, cache=tmp_path / "cache")
    fetch_release(registry.reference, one.digest, tmp_path / "a", settings=cached)
    name = sha256_digest(b"i" * 3000).removeprefix("sha256:")
    damaged = tmp_path / "cache/blobs/sha256" / name
    damaged.chmod(0o644)
    damaged.write_bytes(b"j" * 3000)
    fetch_release(registry.reference, one.digest, tmp_path / "b", settings=cached)
    assert_delivered(tmp_path / "b", one, "int8", "fp32")


@pytest.mark.slow
def test_the_cache_forgets_what_was_not_used_for_longest(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    cached = replace(quick, cache=tmp_path / "cache", cache_bytes=80_000)
    for number in range(1, 4):
        weights = {"int8": number.to_bytes(1, "big") * 30_000}
        one = registry.add(publish(publisher, number, weights=weights))
        fetch_release(registry.reference, one.digest, tmp_path / str(number), settings=cached)
        for path in (tmp_path / "cache/blobs/sha256").iterdir():
            os.utime(path, (number, number))
    sizes = sorted(p.stat().st_size for p in (tmp_path / "cache/blobs/sha256").iterdir())
    assert sizes.count(30_000) == 2
    assert sum(sizes) <= 80_000
    assert_delivered(tmp_path / "1", registry.published[0], "int8")


def test_a_release_without_room_is_refused_before_its_first_byte(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher))
    full = replace(quick, reserve_bytes=1 << 60)
    found, detail = refusal(
        lambda: fetch_release(registry.reference, one.digest, tmp_path, settings=full)
    )
    assert found is Reason.DISK_FULL
    assert "reserve" in detail
    assert not registry.counts[f"/v2/{REPOSITORY}/blobs/{sha256_digest(b'i' * 3000)}"]


def fetch_in_child(reference: str, digest: str, folder: str, cache: str, largest: int) -> None:
    if largest:
        # What a disk that is nearly full looks like to a program.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    settings = FetchSettings(reserve_bytes=0, cache=Path(cache))
    try:
        fetch_release(reference, digest, Path(folder), settings=settings)
    except RefusedError as exc:
        os._exit(20 if exc.reason is Reason.DISK_FULL else 21)
    os._exit(0)


def child(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=fetch_in_child, args=arguments)
    process.start()
    return process


def test_a_disk_that_fills_up_in_the_middle_is_a_reason_of_its_own(
    registry: Misbehaving, publisher: Publisher, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher, weights={"int8": os.urandom(100_000)}))
    process = child(
        registry.reference, one.digest, str(tmp_path / "d"), str(tmp_path / "c"), 50_000
    )
    process.join(20)
    assert process.exitcode == 20
    assert not (tmp_path / "d" / RELEASE_FILE).exists()


def test_ten_processes_at_once_fetch_each_file_once(
    registry: Misbehaving, publisher: Publisher, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher, weights={"int8": os.urandom(300_000)}))
    together = threading.Event()
    registry.on_blob = lambda: together.wait(0.02) and None
    cache = str(tmp_path / "cache")
    processes = [
        child(registry.reference, one.digest, str(tmp_path / str(n)), cache, 0) for n in range(10)
    ]
    for process in processes:
        process.join(40)
        assert process.exitcode == 0
    blobs = {d: registry.counts[f"/v2/{REPOSITORY}/blobs/{d}"] for d in one.package.blobs}
    assert set(blobs.values()) == {1}, blobs
    for n in range(10):
        assert_delivered(tmp_path / str(n), one, "int8")


def test_killed_in_the_middle_of_a_file_the_next_call_continues_it(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    size = 4_000_000
    one = registry.add(publish(publisher, weights={"int8": os.urandom(size)}))
    digest = next(d for d, data in one.package.blobs.items() if len(data) == size)
    held = threading.Event()
    cache = tmp_path / "cache"
    partial = cache / "blobs/sha256" / (digest.removeprefix("sha256:") + ".partial")
    registry.cut = [1_500_000]
    registry.gates[digest] = 1, held
    process = child(registry.reference, one.digest, str(tmp_path / "d"), str(cache), 0)
    deadline = time.monotonic() + 20
    while not (partial.exists() and _size(partial) >= 1_000_000):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join(10)
    held.set()
    registry.cut, registry.ranges = [], []
    fetch_release(
        registry.reference, one.digest, tmp_path / "d", settings=replace(quick, cache=cache)
    )
    assert_delivered(tmp_path / "d", one, "int8")
    resumed = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in registry.ranges]
    assert max(resumed) >= 1_000_000


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_called_off_it_gives_way(
    registry: Misbehaving, publisher: Publisher, quick: FetchSettings, tmp_path: Path
) -> None:
    one = registry.add(publish(publisher, weights={"int8": os.urandom(300_000)}))
    stop = threading.Event()
    registry.on_blob = stop.set
    with pytest.raises(CalledOffError):
        fetch_release(registry.reference, one.digest, tmp_path, settings=quick, stop=stop)


def test_an_address_that_names_no_repository_is_refused(tmp_path: Path) -> None:
    for reference in ("plates", "host.example/", "host.example/Plates", "https://h.example/p"):
        found, _ = refusal(lambda: fetch_release(reference, "sha256:" + "0" * 64, tmp_path))  # noqa: B023 - called at once
        assert found is Reason.BAD_PACKAGE


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    access = Access(ca_file=tmp_path / "none.pem")
    _, detail = refusal(
        lambda: fetch_release("h.example/p", "sha256:" + "0" * 64, tmp_path, access=access)
    )
    assert "none.pem" in detail
