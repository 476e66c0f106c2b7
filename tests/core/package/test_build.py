"""Building: one content gives one digest, in the form that CNCF ModelPack asks for."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_components.contract.package import (
    FILEPATH,
    MAX_MANIFEST_BYTES,
    layer_paths,
    parse_package_info,
)
from edgectl.errors import PackageError
from edgectl.package.build import PackageContent, build_package
from edgectl.package.store import Layout

Make = Callable[..., PackageContent]
SCHEMA = Path(__file__).parents[3].parent / "shared" / "specs" / "modelpack" / "config-schema.json"

CHILD = """
import os, pickle, sys
from pathlib import Path
os.umask(int(sys.argv[3], 8))
from edgectl.package.build import build_package
content = pickle.loads(Path(sys.argv[1]).read_bytes())
print(build_package(content, Path(sys.argv[2])).digest)
"""


def document(layout: Path, digest: str, path: str) -> bytes:
    store = Layout.open(layout)
    layer = layer_paths(store.read_manifest(digest))[path]
    return store.read(layer.digest, max_bytes=MAX_MANIFEST_BYTES)


def test_two_builds_in_different_surroundings_have_one_digest(
    make_content: Make, tmp_path: Path
) -> None:
    digests = set()
    for number, (zone, language, seed, umask) in enumerate(
        [("UTC", "C", "1", "022"), ("Asia/Tokyo", "tr_TR.UTF-8", "77", "077")]
    ):
        here = tmp_path / f"machine{number}" / ("deep" * number or "flat")
        content = make_content(here)
        if number:
            reordered = dict(reversed(content.files.items()))
            content = msgspec.structs.replace(content, files=reordered)
        described = tmp_path / f"content{number}"
        described.write_bytes(pickle.dumps(content))
        done = subprocess.run(
            [sys.executable, "-c", CHILD, described, here / "store", umask],
            cwd=here,
            env=os.environ | {"TZ": zone, "LC_ALL": language, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_building_again_changes_nothing(make_content: Make, tmp_path: Path) -> None:
    first = build_package(make_content(), tmp_path / "store")
    index = (tmp_path / "store" / "index.json").read_bytes()
    assert build_package(make_content(), tmp_path / "store") == first
    assert (tmp_path / "store" / "index.json").read_bytes() == index


def test_other_weights_give_another_digest(make_content: Make, tmp_path: Path) -> None:
    content = make_content()
    before = build_package(content, tmp_path / "store").digest
    content.files["model/int8/model.onnx"].write_bytes(b"changed")
    assert build_package(content, tmp_path / "store").digest != before


def test_the_manifest_lists_each_file_raw_at_its_path(built: Any) -> None:
    layers = layer_paths(built.store.read_manifest(built.digest))
    kinds = {path: layer.media_type.rsplit(".model.", 1)[1] for path, layer in layers.items()}
    assert kinds == {
        "docs/evaluation.json": "doc.v1.raw",
        "docs/provenance.json": "doc.v1.raw",
        "docs/sbom.cdx.json": "doc.v1.raw",
        "edgectl/assets/labels.txt": "weight.config.v1.raw",
        "edgectl/golden.npz": "weight.config.v1.raw",
        "edgectl/package.json": "weight.config.v1.raw",
        "edgectl/pipeline.json": "weight.config.v1.raw",
        "model/fp32/model.onnx": "weight.v1.raw",
        "model/fp32/model.onnx.data": "weight.v1.raw",
        "model/int8/model.onnx": "weight.v1.raw",
    }


def test_the_raw_manifest_has_what_oci_asks_for(built: Any) -> None:
    raw = json.loads(built.store.read(built.digest, max_bytes=MAX_MANIFEST_BYTES))
    assert raw["schemaVersion"] == 2
    assert raw["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert raw["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert raw["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert [layer["annotations"][FILEPATH] for layer in raw["layers"]] == sorted(
        layer["annotations"][FILEPATH] for layer in raw["layers"]
    )


def test_the_configuration_validates_against_the_modelpack_schema(built: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMA.exists():
        pytest.skip("the ModelPack schema does not lie beside this repository")
    manifest = built.store.read_manifest(built.digest)
    config = json.loads(built.store.read(manifest.config.digest, max_bytes=MAX_MANIFEST_BYTES))
    jsonschema.validate(config, json.loads(SCHEMA.read_text()))
    assert config["modelfs"]["diffIds"] == [layer.digest for layer in manifest.layers]
    assert "createdAt" not in config["descriptor"]


def test_package_json_says_which_file_is_what(built: Any) -> None:
    manifest = built.store.read_manifest(built.digest)
    info = parse_package_info(
        document(built.layout, built.digest, "edgectl/package.json"), manifest
    )
    assert (info.application, info.version, info.golden_samples) == ("plates", "1.4.0", 6)
    assert [one.precision for one in info.variants] == ["fp32", "int8"]


def test_sizes_are_those_of_the_files(built: Any) -> None:
    assert built.package.sizes == {"fp32": 11_000, "int8": 500}


def test_the_package_is_tagged_by_application_and_version(built: Any) -> None:
    assert built.store.resolve("plates:1.4.0") == built.digest


def test_provenance_names_inputs_command_metrics_and_revision(built: Any) -> None:
    statement = json.loads(document(built.layout, built.digest, "docs/provenance.json"))
    definition = statement["predicate"]["buildDefinition"]
    assert statement["subject"] == [{"name": "plates", "digest": {"sha256": "ab" * 32}}]
    assert definition["externalParameters"]["command"] == ["python", "train.py"]
    assert definition["resolvedDependencies"] == [
        {"name": "data", "digest": {"sha256": "cd" * 32}},
        {"name": "source", "digest": {"gitCommit": "0" * 40}},
    ]
    metrics = statement["predicate"]["runDetails"]["byproducts"][0]["annotations"]
    assert metrics == {"accuracy": 0.97}


def test_the_sbom_has_the_model_as_a_machine_learning_component(built: Any) -> None:
    bom = json.loads(document(built.layout, built.digest, "docs/sbom.cdx.json"))
    model = next(one for one in bom["components"] if one["type"] == "machine-learning-model")
    assert (model["name"], model["version"]) == ("plates", "1.4.0")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert "timestamp" not in bom["metadata"]


def test_the_sbom_validates_as_cyclonedx(built: Any) -> None:
    from cyclonedx.exception import MissingOptionalDependencyException  # noqa: PLC0415
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - only this test needs it
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    text = document(built.layout, built.digest, "docs/sbom.cdx.json").decode()
    try:
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException:
        pytest.skip("cyclonedx-python-lib[json-validation] is not installed")
    assert error is None


def test_nothing_of_this_machine_is_in_the_documents(built: Any, tmp_path: Path) -> None:
    for blob in (built.layout / "blobs" / "sha256").iterdir():
        assert str(tmp_path).encode() not in blob.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"application": "two words"}, "application's name 'two words'"),
        ({"version": "1:2"}, "version '1:2'"),
        ({"version": ""}, "version ''"),
        ({"files": {}}, "needs 'model/fp32/model.onnx'"),
        ({"assets": {"../out": Path("x")}}, "'edgectl/assets/../out' is not a path"),
        ({"evaluation": {"bad": object()}}, "evaluation report"),
    ],
)
def test_content_that_no_device_would_take_is_refused(
    make_content: Make, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(PackageError, match=message.replace("(", r"\(")):
        build_package(make_content(**changes), tmp_path / "store")


@pytest.mark.parametrize("path", ["edgectl/package.json", "docs/x.bin", "model.sig"])
def test_weights_cannot_take_a_reserved_path(make_content: Make, tmp_path: Path, path: str) -> None:
    content = make_content()
    files = {**content.files, path: content.files["model/int8/model.onnx"]}
    with pytest.raises(PackageError, match="reserved path"):
        build_package(make_content(files=files), tmp_path / "store")


def test_a_missing_file_is_named(make_content: Make, tmp_path: Path) -> None:
    content = make_content()
    content.files["model/int8/model.onnx"].unlink()
    with pytest.raises(PackageError, match="file2' cannot be read: No such file"):
        build_package(content, tmp_path / "store")


def test_a_golden_set_that_is_no_npz_is_refused(make_content: Make, tmp_path: Path) -> None:
    wrong = tmp_path / "golden.txt"
    wrong.write_text("not an archive")
    with pytest.raises(PackageError, match="golden set"):
        build_package(make_content(golden=wrong), tmp_path / "store")


def test_a_failed_build_tags_nothing(make_content: Make, tmp_path: Path) -> None:
    content = make_content()
    content.files["model/int8/model.onnx"].unlink()
    with pytest.raises(PackageError):
        build_package(content, tmp_path / "store")
    assert Layout.open(tmp_path / "store").index().manifests == ()


def test_a_folder_with_other_things_is_not_made_a_store(make_content: Make, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("precious")
    with pytest.raises(PackageError, match="not empty"):
        build_package(make_content(), tmp_path / "store")


def test_importing_the_builder_brings_no_model_library() -> None:
    code = (
        "import sys, edgectl.package.build, edgectl.package.sign, edgectl.package.registry\n"
        "print([m for m in ('onnx', 'onnxruntime', 'numpy', 'click') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
