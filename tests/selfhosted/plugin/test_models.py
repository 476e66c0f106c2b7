from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgectl.api import (
    ConflictError,
    ModelVersion,
    ProviderError,
    RegisterRequest,
    TensorSpec,
    TrainedModel,
)
from edgectl_selfhosted.models import decode_version, encode_version, model_path, register


def version(digest: str = "sha256:" + "1" * 64, **values: Any) -> ModelVersion:
    return ModelVersion(
        **{
            "name": "plates",
            "version": "1.0.0",
            "digest": digest,
            "inputs": (TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),),
            "outputs": (TensorSpec(name="y", datatype="FP32", shape=(-1, 10)),),
            "opset": {"": 17},
            "ir_version": 8,
            "trained": TrainedModel(model=Path("/tmp/model.onnx"), metrics={"accuracy": 0.97}),
            **values,
        }
    )


def request(**values: Any) -> RegisterRequest:
    approval = values.pop("approval", None)
    return RegisterRequest(version=version(**values), files={}, approval=approval)


def test_a_new_version_waits_for_approval(tmp_path: Path) -> None:
    assert register(tmp_path, request()).approval == "pending"


def test_a_recorded_version_comes_back_whole(tmp_path: Path) -> None:
    register(tmp_path, request())
    assert decode_version(model_path(tmp_path, "plates", "1.0.0").read_bytes()) == version()


def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    first = register(tmp_path, request(approval="approved"))
    path = model_path(tmp_path, "plates", "1.0.0")
    before = path.stat().st_mtime_ns, path.read_bytes()
    assert register(tmp_path, request()) == first
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_the_approval_can_change(tmp_path: Path) -> None:
    register(tmp_path, request())
    assert register(tmp_path, request(approval="approved")).approval == "approved"
    assert register(tmp_path, request(approval="rejected")).approval == "rejected"
    assert register(tmp_path, request()).approval == "rejected"


def test_another_digest_under_the_same_version_is_refused(tmp_path: Path) -> None:
    register(tmp_path, request())
    with pytest.raises(ConflictError, match="another digest"):
        register(tmp_path, request(digest="sha256:" + "2" * 64))


def test_of_several_that_register_at_once_one_wins(tmp_path: Path) -> None:
    def attempt(number: int) -> str:
        try:
            return register(tmp_path, request(digest=f"sha256:{number:064x}")).digest
        except ConflictError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        winners = {digest for digest in pool.map(attempt, range(8)) if digest}
    assert len(winners) == 1
    assert decode_version(model_path(tmp_path, "plates", "1.0.0").read_bytes()).digest in winners
    assert [p.name for p in (tmp_path / "models" / "plates").iterdir()] == ["1.0.0.json"]


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "a/b", "/abs"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "models"
    path = model_path(tmp_path, name, name)
    assert path.parent.parent == folder
    assert path.parent.resolve() not in {folder.resolve(), tmp_path.resolve()}


def test_a_damaged_record_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = model_path(tmp_path, "plates", "1.0.0")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(ProviderError, match=str(path)):
        register(tmp_path, request())


def test_the_same_version_gives_the_same_bytes() -> None:
    assert encode_version(version()) == encode_version(version())
