"""Bundles: their bytes, who else can read them, and the number that their release gets."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.bundle import Contents, attached, read_contents
from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import PACKAGE_FILE, layer_paths
from edge_components.contract.release import RELEASE_TYPE, ReleaseDocument
from edge_components.contract.signature import BUNDLE_TYPE
from edge_components.contract.state import State
from edgectl.dryrun import DryRun
from edgectl.errors import (
    ConflictError,
    LeaseError,
    NotFoundError,
    PackageError,
    ProjectError,
    SignatureError,
    UnreachableError,
)
from edgectl.package.build import build_package
from edgectl.package.bundle import write_bundle
from edgectl.package.keys import SigningKey
from edgectl.package.referrers import find_referrers
from edgectl.package.sign import find_signature, sign_package, sign_release, verify_release
from edgectl.project.load import load_project
from edgectl.records import Package, Release
from edgectl.session import Session
from edgectl.testing.memory_fleet import Given
from edgectl.testing.memory_store import FleetStore
from edgectl.workflow.bundle import Bundled, BundleWish, bundle_package, bundle_release, note_bundle
from edgectl.workflow.holder import Claim
from edgectl.workflow.plan import release_history
from edgectl.workflow.planner import make_plan
from edgectl.workflow.resume import rollback_plan
from edgectl.workflow.shared import Shared


def release_of(built: Any, key: SigningKey, number: int = 3) -> Release:
    document = ReleaseDocument(
        application="plates", number=number, version="1.4.0", package=built.digest
    )
    return sign_release(document, find_signature(built.layout, built.digest) or b"", key)


def contents(file: Path) -> tuple[Contents, bytes]:
    data = file.read_bytes()
    return read_contents(lambda at, count: data[at : at + count], len(data)), data


@pytest.fixture
def made(signed: Any, key: SigningKey, tmp_path: Path) -> Path:
    """The bundle of release 3 of a signed package."""
    write_bundle(signed.layout, release_of(signed, key), tmp_path / "release.bundle")
    return tmp_path / "release.bundle"


def test_same_release_gives_the_same_bytes(
    signed: Any, key: SigningKey, made: Path, tmp_path: Path
) -> None:
    size = write_bundle(signed.layout, release_of(signed, key), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made.read_bytes()
    assert size == made.stat().st_size
    with tarfile.open(made) as archive:
        members = archive.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_device_finds_release_signature_and_every_file_in_it(
    signed: Any, key: SigningKey, made: Path
) -> None:
    found, data = contents(made)

    def file(digest: str) -> bytes:
        place = found.find(digest)
        assert place is not None
        return data[place.offset : place.offset + place.size]

    release = attached(file(found.release), found.release, RELEASE_TYPE, limit=1 << 20)
    document = verify_release(file(release.digest), (key.public_pem,))
    assert (document.number, document.package) == (3, signed.digest)
    signature = attached(file(found.signature), found.signature, BUNDLE_TYPE, limit=1 << 20)
    assert file(signature.digest) == find_signature(signed.layout, signed.digest)
    manifest = signed.store.read_manifest(signed.digest)
    for layer in (manifest.config, *manifest.layers):
        assert sha256_digest(file(layer.digest)) == layer.digest


def test_signature_in_it_is_the_referrer_that_registries_hold(signed: Any, made: Path) -> None:
    found, _data = contents(made)
    assert [found.signature] == [e.digest for e in find_referrers(signed.store, signed.digest)]


def test_skopeo_reads_and_copies_the_package_in_it(
    signed: Any, made: Path, skopeo: str, tmp_path: Path
) -> None:
    read = subprocess.run(
        [skopeo, "inspect", "--raw", f"oci-archive:{made}"], capture_output=True, check=False
    )
    assert sha256_digest(read.stdout) == signed.digest, read.stderr
    layout = tmp_path / "copied"
    copy = [skopeo, "copy", "-q", f"oci-archive:{made}", f"oci:{layout}:x"]
    assert subprocess.run(copy, capture_output=True, check=False).returncode == 0
    for layer in signed.store.read_manifest(signed.digest).layers:
        blob = layout / "blobs" / layer.digest.replace(":", "/")
        assert sha256_digest(blob.read_bytes()) == layer.digest


def test_unsigned_package_is_not_bundled(built: Any, key: SigningKey, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="no device would take"):
        write_bundle(built.layout, release_of(built, key), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_damaged_store_leaves_no_bundle_and_the_one_before_whole(
    signed: Any, key: SigningKey, made: Path
) -> None:
    before = made.read_bytes()
    layer = layer_paths(signed.store.read_manifest(signed.digest))[PACKAGE_FILE]
    path = signed.store.blob_path(layer.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * layer.size)
    with pytest.raises(PackageError, match="was changed"):
        write_bundle(signed.layout, release_of(signed, key), made)
    assert made.read_bytes() == before
    assert [path for path in made.parent.iterdir() if ".part" in path.name] == []


def test_bundle_that_does_not_fit_is_said_and_leaves_nothing(
    signed: Any, key: SigningKey, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match="cannot be written: No such file"):
        write_bundle(signed.layout, release_of(signed, key), tmp_path / "none" / "b")


PROJECT = """\
apiVersion: edgectl/v1
name: plates
version: 1.4.0
model: {path: model.onnx}
targets:
  lots: {provider: memory}
  roads: {provider: memory}
providers:
  memory: {devices: 3}
"""


class Site:
    """A project on the memory provider, with packages of its own key."""

    def __init__(self, folder: Path, make: Callable[..., Any], text: str = PROJECT) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "edgectl.yaml").write_text(text)
        (folder / "model.onnx").touch()
        self.folder = folder
        self.said: list[str] = []
        self._make = make

    @property
    def session(self) -> Session:
        return Session(load_project(self.folder), self.said.append)

    def package(self, **changes: object) -> Package:
        session = self.session
        built = build_package(self._make(self.folder / "source", **changes), session.layout)
        sign_package(session.layout, built.digest, session.key())
        return built

    def bundle(self, package: Package, **wish: Any) -> Bundled:
        file = self.folder / "release.bundle"
        return bundle_package(self.session, package.digest, BundleWish(file=file, **wish))

    def numbers(self) -> list[int]:
        session = self.session
        provider = session.provider("memory")
        history = release_history(provider, session.project.target("lots"), "plates")
        return [record.number for record in history]


@pytest.fixture
def site(tmp_path: Path, make_content: Callable[..., Any]) -> Site:
    return Site(tmp_path / "project", make_content)


def test_provider_numbers_the_release_and_knows_it_and_no_device_is_given_it(site: Site) -> None:
    package = site.package()
    made = site.bundle(package)
    assert (made.release, site.numbers()) == (1, [1])
    assert made.published
    session = site.session
    plan = make_plan(session, package, session.project.targets())
    assert (plan.release, plan.is_new, plan.changes) == (1, False, 6)
    assert site.bundle(package).release == 1, "the same content has the same number"
    assert site.bundle(site.package(evaluation={"accuracy": 0.98}, version="1.5.0")).release == 2
    (line,) = [
        json.loads(text)
        for text in (site.folder / ".edgectl/journal.jsonl").read_text().splitlines()
        if '"bundle"' in text and '"release":2' in text
    ]
    assert line["to"] != package.digest


def test_release_that_the_provider_has_is_bundled_again_whatever_came_after(site: Site) -> None:
    package = site.package()
    first = site.bundle(package)
    before = Path(first.bundle).read_bytes()
    site.bundle(site.package(version="1.5.0"))
    wish = BundleWish(file=site.folder / "again")
    assert bundle_release(site.session, 1, wish).digest == package.digest
    assert (site.folder / "again").read_bytes() == before
    with pytest.raises(NotFoundError, match="knows no release 7") as caught:
        bundle_release(site.session, 7, wish)
    assert caught.value.hint == "releases at the provider: 2, 1"
    (site.folder / "edgectl.yaml").write_text(PROJECT + "device: {soak: 99s}\n")
    with pytest.raises(ConflictError, match="other settings"):
        bundle_release(site.session, 1, wish)


def test_number_given_by_hand_has_to_be_free_and_higher(site: Site) -> None:
    package = site.package()
    assert site.bundle(package, number=7).release == 7
    other = site.package(version="1.5.0")
    with pytest.raises(ConflictError, match="release 7 exists with other content") as caught:
        site.bundle(other, number=7)
    assert caught.value.hint == "the next free number is 8"
    with pytest.raises(ConflictError, match="release 5 is lower than 7"):
        site.bundle(other, number=5)
    assert site.bundle(package, number=7).release == 7, "the same again is no conflict"
    assert site.bundle(other).release == 8


def test_new_release_is_refused_while_another_one_is_rolled_out(site: Site) -> None:
    package = site.package()
    site.bundle(package)
    session = site.session
    target = session.project.target("lots")
    provider = session.provider("memory")
    shared = Shared(provider, target, "plates")
    with shared.lease(Claim(taken_over=lambda _takeover: None)):
        with pytest.raises(LeaseError, match="deploys to target 'lots'"):
            site.bundle(site.package(version="1.5.0"))
        again = BundleWish(file=site.folder / "again")
        assert bundle_release(site.session, 1, again).release == 1


def test_targets_of_several_providers_need_a_word_whose_number_counts(
    tmp_path: Path, make_content: Callable[..., Any]
) -> None:
    text = PROJECT.replace("roads: {provider: memory}", "roads: {provider: selfhosted}")
    site = Site(tmp_path / "project", make_content, text)
    package = site.package()
    with pytest.raises(ProjectError, match="several providers: memory, selfhosted"):
        site.bundle(package)
    assert site.bundle(package, targets=("lots",)).release == 1


def test_package_of_another_application_is_refused(site: Site) -> None:
    other = site.package()
    text = (site.folder / "edgectl.yaml").read_text()
    (site.folder / "edgectl.yaml").write_text(text.replace("name: plates", "name: others"))
    with pytest.raises(PackageError, match="is of 'plates', the project is 'others'"):
        site.bundle(other)


@pytest.mark.parametrize(("known", "release"), [(None, 2), (1, 1)])
def test_dry_run_says_which_release_would_be_bundled_and_changes_nothing(
    site: Site, known: int | None, release: int
) -> None:
    site.bundle(site.package())
    package = site.package(version="1.5.0")
    before = tree(site.folder)
    with contextlib.closing(DryRun()) as dry:
        session = Session(load_project(site.folder), site.said.append, dry=dry)
        wish = BundleWish(file=site.folder / "dry")
        note_bundle(session, dry, None if known else package, known, wish)
        steps = [str(step) for step in dry.steps]
    assert f"would call 'package' at provider 'memory' (release {release}, to" in steps[0]
    assert steps[-1] == f"would write {site.folder / 'dry'}"
    assert tree(site.folder) == before


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OFFLINE = """\
apiVersion: edgectl/v1
name: plates
version: 1.4.0
model: {path: model.onnx}
targets:
  lots: {provider: selfhosted, selector: {tags: {site: lots}}}
providers:
  selfhosted: {url: "http://127.0.0.1:9", username: admin, password_file: password}
"""


def test_without_a_link_a_number_has_to_be_given_and_the_provider_hears_of_it_later(
    tmp_path: Path, make_content: Callable[..., Any]
) -> None:
    pytest.importorskip("edgectl_selfhosted")
    site = Site(tmp_path / "project", make_content, OFFLINE)
    (site.folder / "password").write_text("secret")
    package = site.package()
    with pytest.raises(UnreachableError) as caught:
        site.bundle(package)
    assert "--release-number N" in caught.value.hint
    made = site.bundle(package, number=4)
    assert (made.release, made.published) == (4, "")
    assert any("taking number 4 as it was given" in line for line in site.said)


def brought(site: Site, number: int, package: Package) -> None:
    """Have a device run a release that the provider does not know."""
    with FleetStore(site.folder / ".edgectl/memory/fleet.json").changing() as state:
        state.given["plates"] = {
            "device-0002": Given(
                release=number,
                package=package.digest,
                version=package.version,
                since=0.0,
                state=State.HEALTHY,
                active_release=number,
                active_package=package.digest,
            )
        }


@pytest.mark.parametrize(("number", "expected"), [(9, 10), (1, 2)])
def test_plan_takes_a_number_above_what_a_device_was_brought(
    site: Site, number: int, expected: int
) -> None:
    """The device would refuse a lower release, and another one of the same number."""
    package, other = site.package(), site.package(version="1.5.0")
    site.bundle(package)
    brought(site, number, other)
    session = site.session
    plan = make_plan(session, package, session.project.targets())
    assert (plan.release, plan.is_new) == (expected, True)
    assert {one.release for one in plan.targets} == {expected}


def test_way_back_takes_a_number_above_what_a_device_was_brought(site: Site) -> None:
    package, other = site.package(), site.package(version="1.5.0")
    site.bundle(package)
    site.bundle(other)
    brought(site, 9, other)
    session = site.session
    plan, _package = rollback_plan(session, session.project.target("lots"), None)
    assert (plan.release, plan.package) == (10, package.digest)
