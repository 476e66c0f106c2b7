"""What a device gets for a release, and the record of a package that is in a store."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import parse_manifest
from edge_components.contract.release import ReleaseDocument
from edgectl.errors import PackageError
from edgectl.package.build import describe_package
from edgectl.package.read import open_package
from edgectl.package.release import package_blobs, release_files
from edgectl.package.sign import find_signature, package_files, sign_release, verify_bundle
from edgectl.records import Release


def released(signed: Any, key: Any) -> Release:
    document = ReleaseDocument(
        application="plates", number=1, version="1.4.0", package=signed.digest
    )
    return sign_release(document, find_signature(signed.layout, signed.digest) or b"", key)


def test_a_release_is_carried_by_three_small_files(signed: Any, key: Any) -> None:
    release = released(signed, key)
    files = release_files(signed.layout, release)
    assert files["edgectl-release.json"] == release.envelope
    manifest = parse_manifest(files["edgectl-manifest.json"], digest=signed.digest)
    publishers = (key.public_pem,)
    assert verify_bundle(files["model.sig"], package_files(manifest), publishers) == key.hint


def test_a_release_of_a_package_that_is_not_here_is_an_error(signed: Any, key: Any) -> None:
    document = ReleaseDocument(
        application="plates", number=1, version="1", package="sha256:" + "0" * 64
    )
    with pytest.raises(PackageError, match="no blob"):
        release_files(signed.layout, sign_release(document, b"", key))


def test_the_blobs_of_a_package_are_files_of_their_digest(built: Any) -> None:
    blobs = package_blobs(built.layout, built.digest)
    assert [blob.path for blob in blobs] == sorted(blob.path for blob in blobs)
    for blob in blobs:
        assert sha256_digest(blob.file.read_bytes()) == blob.digest
        assert blob.file.stat().st_size == blob.size


def test_a_missing_blob_is_found_before_anything_is_sent(built: Any) -> None:
    package_blobs(built.layout, built.digest)[0].file.unlink()
    with pytest.raises(PackageError, match="no blob"):
        package_blobs(built.layout, built.digest)


def test_a_package_that_came_from_elsewhere_is_described_as_its_builder_did(built: Any) -> None:
    info = open_package(built.layout, built.digest, publishers=None).info
    described = describe_package(built.layout, built.digest, info, signed_by="me")
    assert described == msgspec.structs.replace(built.package, signed_by="me")
