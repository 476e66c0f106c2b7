"""Packages written by an attacker: a clear error, and nothing outside the destination."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_components.contract.digest import sha256_digest
from edge_components.contract.package import MAX_LAYERS
from edgectl.errors import PackageError
from edgectl.package.read import export_folder, open_package, verify_layout_package

Document = dict[str, Any]
Change = Callable[[Document], None]


def raw_manifest(layout: Path, digest: str) -> Document:
    found: Document = json.loads((layout / "blobs" / "sha256" / digest[7:]).read_bytes())
    return found


def plant(layout: Path, data: bytes) -> str:
    """Store bytes as an attacker would: under their true digest."""
    digest = sha256_digest(data)
    (layout / "blobs" / "sha256" / digest[7:]).write_bytes(data)
    return digest


def forge(layout: Path, digest: str, change: Change) -> str:
    """Return the digest of a changed manifest whose configuration fits its layers."""
    manifest = raw_manifest(layout, digest)
    change(manifest)
    with contextlib.suppress(KeyError, TypeError):
        layers = [layer["digest"] for layer in manifest["layers"]]
        config = raw_manifest(layout, manifest["config"]["digest"])
        config["modelfs"]["diffIds"] = layers
        data = json.dumps(config).encode()
        manifest["config"] |= {"digest": plant(layout, data), "size": len(data)}
    return plant(layout, json.dumps(manifest).encode())


def rewrite(layout: Path, path: str, change: Change) -> Change:
    """Return a change of the manifest that replaces one JSON file of the package."""

    def apply(manifest: Document) -> None:
        layer = layer_at(manifest, path)
        document = raw_manifest(layout, layer["digest"])
        change(document)
        data = json.dumps(document).encode()
        layer |= {"digest": plant(layout, data), "size": len(data)}

    return apply


def layer_at(manifest: Document, path: str) -> Document:
    found: Document = next(
        layer
        for layer in manifest["layers"]
        if layer["annotations"]["org.cncf.model.filepath"] == path
    )
    return found


def at_path(path: str) -> Change:
    def change(manifest: Document) -> None:
        manifest["layers"][-1]["annotations"]["org.cncf.model.filepath"] = path

    return change


def put(value: object, *keys: str | int) -> Change:
    def change(manifest: Document) -> None:
        place: Any = manifest
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def refuses(built: Any, tmp_path: Path) -> Callable[..., str]:
    """Return a function that checks that a forged package is refused without a trace."""

    def check(digest: str) -> str:
        around = tmp_path / "around"
        around.mkdir()
        (around / "precious").write_text("mine")
        with pytest.raises(PackageError) as caught:
            export_folder(built.layout, digest, around / "dest")
        assert tree(around) == {"precious"}
        assert (around / "precious").read_text() == "mine"
        return f"{caught.value.vendor_code} {caught.value.message}"

    return check


CLIMBING = [
    "../evil", "a/../../evil", "/etc/evil", "a//b", "./a", "a/.", "..", ".", "", "a\\..\\b",
    "C:/evil", "a\0b", "a\nb", "a/", "x" * 300, "\u202egpj.exe", "model.sig",
]  # fmt: skip


@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_leaves_the_folder_is_refused(
    built: Any, refuses: Callable[..., str], path: str
) -> None:
    assert "bad-path" in refuses(forge(built.layout, built.digest, at_path(path)))


@pytest.mark.parametrize(
    "path",
    ["edgectl/package.json", "EDGECTL/Package.JSON", "edgectl", "edgectl/package.json/below"],
)
def test_two_files_cannot_share_a_place(built: Any, refuses: Callable[..., str], path: str) -> None:
    assert "bad-path" in refuses(forge(built.layout, built.digest, at_path(path)))


MEDIA = [
    "application/vnd.cncf.model.weight.v1.tar",
    "application/vnd.cncf.model.weight.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/octet-stream",
    "",
]


@pytest.mark.parametrize("media_type", MEDIA)
def test_archives_and_unknown_layers_are_refused(
    built: Any, refuses: Callable[..., str], media_type: str
) -> None:
    change = put(media_type, "layers", 0, "mediaType")
    assert "bad-media-type" in refuses(forge(built.layout, built.digest, change))


SHAPES: list[tuple[Change, str]] = [
    (put("application/vnd.oci.image.config.v1+json", "config", "mediaType"), "bad-media-type"),
    (put("application/vnd.docker.x", "artifactType"), "not-a-package"),
    (put("application/vnd.oci.image.index.v1+json", "mediaType"), "not-a-package"),
    (put([], "layers"), "too-large"),
    (lambda m: m["layers"].extend([m["layers"][0]] * MAX_LAYERS), "too-large"),
    (put(1, "schemaVersion"), "bad-json"),
    (put("sha512:" + "a" * 128, "layers", 0, "digest"), "bad-digest"),
    (put("sha256:" + "A" * 64, "layers", 0, "digest"), "bad-digest"),
    (put("sha256:../../../../etc/passwd", "layers", 0, "digest"), "bad-digest"),
    (put(-1, "layers", 0, "size"), "too-large"),
    (put(1 << 62, "layers", 0, "size"), "too-large"),
    (put(1 << 80, "layers", 0, "size"), "too-large"),
    (put(1.5, "layers", 0, "size"), "bad-json"),
    (put(None, "layers"), "bad-json"),
    (put({}, "layers", 0, "annotations"), "bad-path"),
    (put("sha256:" + "0" * 64, "layers", 0, "digest"), "bad-config"),
    (put(10**9, "config", "size"), "too-large"),
    (put(3, "config", "size"), ""),
]


@pytest.mark.parametrize(("change", "code"), SHAPES)
def test_a_malformed_manifest_is_refused(
    built: Any, refuses: Callable[..., str], change: Change, code: str
) -> None:
    digest = plant_manifest(built.layout, built.digest, change)
    assert code in refuses(digest)


def plant_manifest(layout: Path, digest: str, change: Change) -> str:
    manifest = raw_manifest(layout, digest)
    change(manifest)
    return plant(layout, json.dumps(manifest).encode())


def test_a_layer_that_is_not_there_is_refused(built: Any, refuses: Callable[..., str]) -> None:
    change = put("sha256:" + "0" * 64, "layers", 0, "digest")
    assert "no blob" in refuses(forge(built.layout, built.digest, change))


@pytest.mark.parametrize("size", [1, 10_999, 11_001])
def test_a_size_that_is_not_the_files_is_refused(
    built: Any, refuses: Callable[..., str], size: int
) -> None:
    change = put(size, "layers", -1, "size")
    assert "bytes in place of" in refuses(forge(built.layout, built.digest, change))


def test_a_manifest_with_other_bytes_than_its_digest_is_refused(
    built: Any, refuses: Callable[..., str]
) -> None:
    path = built.store.blob_path(built.digest)
    path.write_bytes(path.read_bytes() + b" ")
    assert "was changed" in refuses(built.digest)


@pytest.mark.parametrize("digest", ["", "latest", "sha256:..", "sha256:" + "g" * 64, "../x"])
def test_a_digest_that_is_none_is_refused(
    built: Any, refuses: Callable[..., str], digest: str
) -> None:
    assert "bad-digest" in refuses(digest)


@pytest.mark.parametrize("depth", [40, 100_000])
def test_deep_json_is_refused(built: Any, refuses: Callable[..., str], depth: int) -> None:
    data = b'{"annotations":' + b"[" * depth + b"]" * depth + b"}"
    assert "too-deep" in refuses(plant(built.layout, data))


def test_a_huge_manifest_is_not_read(built: Any, refuses: Callable[..., str]) -> None:
    data = b'{"x":"' + b"y" * (2 << 20) + b'"}'
    assert "more than" in refuses(plant(built.layout, data))


def test_a_repeated_key_is_refused(built: Any, refuses: Callable[..., str]) -> None:
    data = built.store.blob_path(built.digest).read_bytes()
    doubled = data.replace(b'{"annotations"', b'{"schemaVersion":2,"annotations"', 1)
    assert "repeats a key" in refuses(plant(built.layout, doubled))


def test_a_repeated_key_in_package_json_is_refused(built: Any, refuses: Callable[..., str]) -> None:
    def change(manifest: Document) -> None:
        layer = layer_at(manifest, "edgectl/package.json")
        data = built.store.blob_path(layer["digest"]).read_bytes()
        data = b'{"application":"other",' + data[1:]
        layer |= {"digest": plant(built.layout, data), "size": len(data)}

    assert "repeats a key" in refuses(forge(built.layout, built.digest, change))


PACKAGE_JSON: list[tuple[Change, str]] = [
    (put("elsewhere.onnx", "variants", 0, "path"), "missing-file"),
    (put(["/etc/passwd"], "variants", 0, "files"), "missing-file"),
    (put([], "variants"), "missing-file"),
    (put("edgectl/none.npz", "golden"), "missing-file"),
    (put("other/v9", "format"), "bad-json"),
    (put(1, "surprise"), "bad-json"),
    (put("fp8", "variants", 0, "precision"), "bad-json"),
]


@pytest.mark.parametrize(("change", "code"), PACKAGE_JSON)
def test_a_package_json_that_lies_is_refused(
    built: Any, refuses: Callable[..., str], change: Change, code: str
) -> None:
    forged = rewrite(built.layout, "edgectl/package.json", change)
    assert code in refuses(forge(built.layout, built.digest, forged))


def test_an_unknown_pipeline_step_is_refused(built: Any, refuses: Callable[..., str]) -> None:
    change = put([{"op": "exec", "command": "rm"}], "postprocess")
    forged = rewrite(built.layout, "edgectl/pipeline.json", change)
    assert "bad-json" in refuses(forge(built.layout, built.digest, forged))


def test_a_package_of_somebody_else_is_refused(built: Any, refuses: Callable[..., str]) -> None:
    def change(manifest: Document) -> None:
        manifest["layers"].remove(layer_at(manifest, "edgectl/package.json"))

    assert "edgectl did not make it" in refuses(forge(built.layout, built.digest, change))


def test_a_configuration_for_other_layers_is_refused(
    built: Any, refuses: Callable[..., str]
) -> None:
    def change(manifest: Document) -> None:
        manifest["layers"].reverse()

    digest = plant_manifest(built.layout, built.digest, change)
    assert "bad-config" in refuses(digest)


@pytest.mark.parametrize("damage", ["content", "link", "pipe", "missing"])
def test_a_damaged_weight_is_found_and_nothing_is_left(
    built: Any, refuses: Callable[..., str], tmp_path: Path, damage: str
) -> None:
    manifest = raw_manifest(built.layout, built.digest)
    path = built.store.blob_path(layer_at(manifest, "model/int8/model.onnx")["digest"])
    if damage == "content":
        path.write_bytes(b"x" * path.stat().st_size)
    elif damage == "link":
        shutil.copy(path, tmp_path / "copy")
        path.unlink()
        path.symlink_to(tmp_path / "copy")
    else:
        path.unlink()
        if damage == "pipe":
            os.mkfifo(path)
    refuses(built.digest)


def test_opening_does_not_read_weights_but_verifying_does(built: Any) -> None:
    manifest = raw_manifest(built.layout, built.digest)
    path = built.store.blob_path(layer_at(manifest, "model/int8/model.onnx")["digest"])
    verify_layout_package(built.layout, built.digest, publishers=None)
    path.write_bytes(b"x" * path.stat().st_size)
    open_package(built.layout, built.digest, publishers=None)
    with pytest.raises(PackageError, match=r"'model/int8/model.onnx' .* was changed"):
        verify_layout_package(built.layout, built.digest, publishers=None)


def test_an_export_has_each_file_at_its_path(built: Any, tmp_path: Path) -> None:
    export_folder(built.layout, built.digest, tmp_path / "out")
    files = {
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    paths = {
        layer["annotations"]["org.cncf.model.filepath"]
        for layer in raw_manifest(built.layout, built.digest)["layers"]
    }
    assert files == paths
    assert (tmp_path / "out" / "edgectl" / "assets" / "labels.txt").read_text() == "zero\none\n"


def test_an_export_fills_an_empty_folder_and_keeps_it_on_failure(
    built: Any, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    with pytest.raises(PackageError):
        export_folder(built.layout, forge(built.layout, built.digest, at_path("../x")), dest)
    assert tree(dest) == set()
    export_folder(built.layout, built.digest, dest)
    assert "edgectl" in tree(dest)


def test_an_export_does_not_touch_a_folder_with_files(built: Any, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "mine").write_text("mine")
    with pytest.raises(PackageError, match="not an empty folder"):
        export_folder(built.layout, built.digest, dest)
    assert tree(dest) == {"mine"}


def test_an_export_does_not_follow_a_link(built: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dest").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PackageError, match="not an empty folder"):
        export_folder(built.layout, built.digest, tmp_path / "dest")
    assert tree(tmp_path / "elsewhere") == set()


def test_junk_that_claims_to_be_a_signature_hides_no_real_one(signed: Any, key: Any) -> None:
    index = json.loads((signed.layout / "index.json").read_bytes())
    for number in range(3):
        junk = plant(signed.layout, b"{" * number + b"junk")
        index["manifests"].insert(
            0,
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "digest": junk,
                "size": 4,
            },
        )
    (signed.layout / "index.json").write_text(json.dumps(index))
    opened = open_package(signed.layout, signed.digest, publishers=(key.public_pem,))
    assert opened.verified


def test_a_damaged_list_of_signatures_does_not_stop_the_index(signed: Any, key: Any) -> None:
    entry = signed.store.index().find("sha256-" + signed.digest[7:])
    assert entry is not None
    signed.store.blob_path(entry.digest).write_bytes(b"[")
    assert open_package(signed.layout, signed.digest, publishers=(key.public_pem,)).verified


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
places = st.sampled_from(
    [
        ("schemaVersion",), ("mediaType",), ("artifactType",), ("config",), ("layers",),
        ("annotations",), ("subject",), ("config", "digest"), ("config", "size"),
        ("layers", 0), ("layers", 0, "digest"), ("layers", 0, "size"),
        ("layers", 0, "mediaType"), ("layers", 0, "annotations"),
        ("layers", -1, "annotations", "org.cncf.model.filepath"),
    ]
)  # fmt: skip


@contextlib.contextmanager
def own_folder(template: Path) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(dir=template.parent) as name:
        around = Path(name)
        shutil.copytree(template, around / "store")
        yield around, around / "store"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=places, value=json_values)
@example(place=("layers", -1, "annotations", "org.cncf.model.filepath"), value="ok/../../x")
def test_no_change_of_a_manifest_writes_outside_or_raises_another_error(
    built: Any, place: tuple[str | int, ...], value: object
) -> None:
    with own_folder(built.layout) as (around, layout):
        digest = plant_manifest(layout, built.digest, put(value, *place))
        before = tree(around)
        with contextlib.suppress(PackageError):
            export_folder(layout, digest, around / "dest")
        outside = {path for path in tree(around) if path.split("/")[0] != "dest"}
        assert outside == before


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=st.text(max_size=40) | st.from_regex(r"(\.{0,2}/?[a-b]?){1,6}", fullmatch=True))
def test_no_path_writes_outside(built: Any, path: str) -> None:
    with own_folder(built.layout) as (around, layout):
        digest = forge(layout, built.digest, at_path(path.encode("utf-8", "replace").decode()))
        before = tree(around)
        with contextlib.suppress(PackageError):
            export_folder(layout, digest, around / "dest")
        assert {one for one in tree(around) if one.split("/")[0] != "dest"} == before


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=400) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_in_place_of_a_manifest_raise_another_error(built: Any, data: bytes) -> None:
    digest = plant(built.layout, data)
    with pytest.raises(PackageError):
        open_package(built.layout, digest, publishers=None)


def test_garbage_in_any_file_that_counts_is_found(signed: Any, key: Any) -> None:
    accepted = set()
    for path in sorted(p for p in signed.layout.rglob("*") if p.is_file()):
        with own_folder(signed.layout) as (_around, layout):
            name = str(path.relative_to(signed.layout))
            (layout / name).write_bytes(b"\x00garbage")
            with contextlib.suppress(PackageError):
                verify_layout_package(layout, signed.digest, publishers=(key.public_pem,))
                accepted.add(name)
    listed = signed.store.index().find("sha256-" + signed.digest[7:])
    assert listed is not None
    # The index lists the signature too, and a signature's empty configuration says nothing.
    harmless = {listed.digest[7:], sha256_digest(b"{}")[7:]}
    assert accepted == {".lock", *(f"blobs/sha256/{name}" for name in harmless)}
