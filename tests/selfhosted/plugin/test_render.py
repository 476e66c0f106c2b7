from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import (
    FILEPATH,
    MANIFEST_FILE,
    PACKAGE_FILE,
    RELEASE_FILE,
    WEIGHT_TYPE,
    Delta,
    DeltaFile,
    Descriptor,
    LimitError,
    Manifest,
    PackageError,
    PackageInfo,
    Release,
    ReleaseDocument,
    Variant,
    delta_file_name,
    sha256_digest,
)
from edgectl_selfhosted import render

DOC_TYPE = "application/vnd.cncf.model.doc.v1.raw"
CONFIG = Descriptor(
    media_type="application/vnd.cncf.model.config.v1+json", digest="sha256:" + "0" * 64, size=2
)


def layer(path: str, media_type: str = DOC_TYPE, size: int = 10) -> Descriptor:
    digest = sha256_digest(path.encode())
    return Descriptor(media_type=media_type, digest=digest, size=size, annotations={FILEPATH: path})


def variant(precision: str, *paths: str) -> Variant:
    return Variant(
        precision=precision,  # type: ignore[arg-type]  # one of the literals
        path=paths[0],
        files=paths,
        size_bytes=1,
        atol=0.0,
        rtol=0.0,
    )


def manifest(*layers: Descriptor) -> Manifest:
    return Manifest(
        media_type="application/vnd.oci.image.manifest.v1+json",
        artifact_type="application/vnd.cncf.model.manifest.v1+json",
        config=CONFIG,
        layers=(layer(PACKAGE_FILE), *layers),
    )


def info(*variants: Variant) -> PackageInfo:
    return PackageInfo(
        application="plates",
        version="1.0.0",
        model_digest="sha256:" + "1" * 64,
        inputs=(),
        outputs=(),
        opset={"": 17},
        ir_version=8,
        variants=variants,
    )


def release(number: int = 7, version: str = "1.4.0", envelope: bytes = b"{}") -> Release:
    document = ReleaseDocument(
        application="plates", number=number, version=version, package="sha256:" + "a" * 64
    )
    return Release(document=document, envelope=envelope, signature=b"signature")


def modules(*layers: Descriptor, variants: tuple[Variant, ...]) -> dict[str, render.ModulePlan]:
    made = render.release_modules(release(), b"manifest", manifest(*layers), info(*variants))
    assert len({m.name for m in made}) == len(made)
    return {module.name: module for module in made}


def test_each_variant_the_package_and_the_release_are_a_module_each() -> None:
    found = modules(
        layer("fp32.onnx", WEIGHT_TYPE),
        layer("int8.onnx", WEIGHT_TYPE),
        layer("docs/sbom.cdx.json"),
        variants=(variant("fp32", "fp32.onnx"), variant("int8", "int8.onnx")),
    )
    assert list(found) == ["plates.fp32", "plates.int8", "plates.package", "plates.release"]
    assert [a.name for a in found["plates.release"].artifacts] == [RELEASE_FILE, "model.sig"]
    assert found["plates.package"].artifacts[0].name == MANIFEST_FILE
    assert len(found["plates.package"].artifacts) == 3


def test_a_layer_is_named_by_its_content() -> None:
    found = modules(layer("fp32.onnx", WEIGHT_TYPE), variants=(variant("fp32", "fp32.onnx"),))
    (artifact,) = found["plates.fp32"].artifacts
    assert artifact.name == artifact.digest.replace(":", "-")
    assert artifact.data is None


def test_equal_weights_are_the_same_module_in_another_release() -> None:
    weights = layer("fp32.onnx", WEIGHT_TYPE)
    first = modules(weights, variants=(variant("fp32", "fp32.onnx"),))
    second = modules(weights, layer("docs/new"), variants=(variant("fp32", "fp32.onnx"),))
    assert first["plates.fp32"] == second["plates.fp32"]
    assert first["plates.package"].version != second["plates.package"].version


def test_a_file_of_two_variants_is_sent_once() -> None:
    found = modules(
        layer("a.onnx", WEIGHT_TYPE),
        layer("b.onnx", WEIGHT_TYPE),
        layer("shared.data", WEIGHT_TYPE),
        variants=(
            variant("fp32", "a.onnx", "shared.data"),
            variant("int8", "b.onnx", "shared.data"),
        ),
    )
    assert len(found["plates.fp32"].artifacts) == 2
    assert len(found["plates.int8"].artifacts) == 1


def delta_file(old: str, new: str, size: int) -> DeltaFile:
    names = [sha256_digest(name.encode()) for name in (old, new, f"{old} {new} {size}")]
    return DeltaFile(old=names[0], new=names[1], digest=names[2], size=size)


def test_deltas_are_files_of_a_module_of_their_own_and_the_smaller_of_two_is_taken() -> None:
    deltas = [
        Delta(digest="d", package="p", files=(delta_file("a", "b", 9), delta_file("c", "b", 5))),
        Delta(digest="e", package="q", files=(delta_file("a", "b", 7),)),
        Delta(digest="f", package="q", files=(delta_file("a", "b", 8),)),
    ]
    (module,) = render.delta_modules("plates", deltas)
    assert module.name == "plates.delta"
    sizes = {artifact.name: artifact.size for artifact in module.artifacts}
    a, b, c = (sha256_digest(name.encode()) for name in "abc")
    assert sizes == {delta_file_name(a, b): 7, delta_file_name(c, b): 5}
    assert render.delta_modules("plates", ()) == ()


def test_weights_of_no_variant_come_along() -> None:
    found = modules(
        layer("a.onnx", WEIGHT_TYPE),
        layer("extra.bin", WEIGHT_TYPE),
        variants=(variant("fp32", "a.onnx"),),
    )
    assert len(found["plates.weights"].artifacts) == 1


@pytest.mark.parametrize(("count", "parts"), [(18, 1), (19, 2), (39, 3)])
def test_a_module_holds_as_many_files_as_hawkbit_allows(count: int, parts: int) -> None:
    layers = [layer(f"docs/{n}") for n in range(count)]
    found = modules(layer("a.onnx", WEIGHT_TYPE), *layers, variants=(variant("fp32", "a.onnx"),))
    packages = [m for name, m in found.items() if name.startswith("plates.package")]
    assert len(packages) == parts
    assert sum(len(m.artifacts) for m in packages) == count + 2
    assert max(len(m.artifacts) for m in packages) <= render.MAX_FILES


def test_a_file_larger_than_hawkbit_takes_is_refused() -> None:
    with pytest.raises(LimitError, match=r"'big\.onnx' has 1073741825 bytes"):
        modules(
            layer("big.onnx", WEIGHT_TYPE, render.MAX_FILE_BYTES + 1),
            variants=(variant("fp32", "big.onnx"),),
        )


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(PackageError, match=r"'docs/empty' is empty"):
        modules(layer("docs/empty", size=0), variants=())


@given(st.text(st.characters(exclude_categories=("C",)), max_size=40), st.integers(1, 10**12))
def test_a_release_is_read_back_from_its_set(version: str, number: int) -> None:
    made = release(number, version)
    body = render.set_body(made, [1, 2])
    record = render.release_record(
        str(body["name"]),
        str(body["version"]),
        str(body["description"]),
        1500,
        application="plates",
    )
    assert record is not None
    assert (record.number, record.version, record.package) == (number, version, made.package)
    assert record.content == made.document.content_digest()
    assert record.created_at == 1.5


@pytest.mark.parametrize(
    ("name", "version", "description"),
    [
        ("plates", "1", None),
        ("plates", "1", "a set of somebody"),
        ("Plates", "1", "ours"),
        ("plates", "01", "ours"),
        ("plates", "1.0", "ours"),
        ("plates", "0", "ours"),
    ],
)
def test_what_is_not_ours_is_no_release(name: str, version: str, description: str | None) -> None:
    if description == "ours":
        description = render.set_description(release())
    record = render.release_record(name, version, description, None, application="plates")
    assert record is None


def test_a_description_fits_into_hawkbits_512_characters() -> None:
    assert len(render.set_description(release(version="1" * 64))) <= 512
    with pytest.raises(LimitError, match="too long"):
        render.set_description(release(version="ä" * 100))


def test_missing_files_are_those_that_are_not_there() -> None:
    one, two = (
        render.ArtifactPlan(name=n, digest=sha256_digest(n.encode()), size=1) for n in ("a", "b")
    )
    module = render.ModulePlan(name="m", version="1", artifacts=(one, two))
    assert render.missing_files(module, {}) == (one, two)
    assert render.missing_files(module, {"a": one.digest}) == (two,)
    assert render.missing_files(module, {"a": one.digest, "b": two.digest}) == ()


@pytest.mark.parametrize("there", [{"a": "sha256:x"}, {"c": "sha256:x"}])
def test_a_module_with_other_files_is_refused(there: dict[str, str]) -> None:
    plan = render.ArtifactPlan(name="a", digest="sha256:y", size=1)
    module = render.ModulePlan(name="m", version="1", artifacts=(plan,))
    with pytest.raises(PackageError, match="it holds"):
        render.missing_files(module, there)
