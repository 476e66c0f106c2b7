"""Reading a model from outside: what it is, and clear refusals of what it should not be."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_components.contract.package import TensorSpec
from edgectl.errors import ModelError
from edgectl.model.signature import check_model, read_signature

Make = Callable[..., Any]


def relu(make_model: Make, make_io: Make, **more: Any) -> Any:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    return make_model(nodes, [make_io("x", ["n", 4])], [make_io("y", ["n", 4])], **more)


def test_signature_has_inputs_outputs_and_versions(classifier_file: Path) -> None:
    signature = read_signature(classifier_file)
    assert signature.inputs == (TensorSpec(name="x", datatype="FP32", shape=(-1, 16)),)
    assert signature.outputs == (TensorSpec(name="p", datatype="FP32", shape=(-1, 4)),)
    assert (signature.opset, signature.ir_version) == ({"ai.onnx": 17}, 8)
    assert signature.files == {"model.onnx": classifier_file}
    assert signature.size_bytes == classifier_file.stat().st_size


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.FLOAT16, "FP16"),
        (TensorProto.DOUBLE, "FP64"),
        (TensorProto.UINT8, "UINT8"),
        (TensorProto.INT64, "INT64"),
        (TensorProto.BOOL, "BOOL"),
        (TensorProto.STRING, "BYTES"),
    ],
)
def test_datatypes_have_the_names_of_the_open_inference_protocol(
    kind: int, name: str, onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    proto = make_model(nodes, [make_io("x", [2], kind)], [make_io("y", [2], kind)])
    assert [spec.datatype for spec in read_signature(onnx_file(proto)).inputs] == [name]


def test_initializers_listed_as_inputs_are_no_inputs(
    onnx_file: Make, make_classifier: Make
) -> None:
    proto = make_classifier()
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [16, 32]))
    assert [spec.name for spec in read_signature(onnx_file(proto)).inputs] == ["x"]


def test_missing_output_shape_is_inferred(onnx_file: Make, make_classifier: Make) -> None:
    proto = make_classifier()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert read_signature(onnx_file(proto)).outputs[0].shape == (-1, 4)


def test_digest_of_one_file_is_its_sha256(classifier_file: Path, tmp_path: Path) -> None:
    expected = hashlib.sha256(classifier_file.read_bytes()).hexdigest()
    other = tmp_path / "elsewhere" / "other.onnx"
    other.parent.mkdir()
    shutil.copy(classifier_file, other)
    assert read_signature(classifier_file).digest == f"sha256:{expected}"
    assert read_signature(other).digest == f"sha256:{expected}"


def test_external_data_is_part_of_files_size_and_digest(
    onnx_file: Make, make_classifier: Make, tmp_path: Path
) -> None:
    path = onnx_file(make_classifier(), "big/m.onnx", external="weights.bin")
    before = read_signature(path)
    data = path.with_name("weights.bin")
    assert before.files["weights.bin"].resolve() == data.resolve()
    assert before.size_bytes == path.stat().st_size + data.stat().st_size
    copy = shutil.copytree(path.parent, tmp_path / "copy")
    assert read_signature(copy / "m.onnx").digest == before.digest
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    assert read_signature(path).digest != before.digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "is not an ONNX"),
        (b"model: yes\n" * 20, "is not an ONNX"),
        (b"PK\x03\x04" + b"\0" * 200, "is not an ONNX"),
    ],
)
def test_a_file_that_is_no_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_signature(path)
    assert caught.value.hint


def test_a_model_that_is_cut_off_is_refused(classifier_file: Path) -> None:
    classifier_file.write_bytes(classifier_file.read_bytes()[:-40])
    with pytest.raises(ModelError, match="not an ONNX file, or is cut off"):
        read_signature(classifier_file)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_signature(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is not a file"):
        read_signature(tmp_path)


def test_opset_newer_than_the_runtime_names_both(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    path = onnx_file(relu(make_model, make_io, opsets=[("", 900)]))
    with pytest.raises(ModelError, match=r"uses opset 900 of 'ai\.onnx', .* runs 1 to \d\d") as e:
        read_signature(path)
    assert "export with opset" in e.value.hint


def test_newest_opset_in_the_message_really_loads(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    with pytest.raises(ModelError) as caught:
        read_signature(onnx_file(relu(make_model, make_io, opsets=[("", 900)])))
    newest = int(caught.value.message.rsplit(" ", 1)[1])
    check_model(onnx_file(relu(make_model, make_io, opsets=[("", newest)], ir_version=10)))
    with pytest.raises(ModelError, match=f"opset {newest + 1}"):
        read_signature(onnx_file(relu(make_model, make_io, opsets=[("", newest + 1)])))


@pytest.mark.parametrize("version", [0, -3, 2**40])
def test_nonsense_opset_is_refused(
    version: int, onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    with pytest.raises(ModelError, match="uses opset"):
        read_signature(onnx_file(relu(make_model, make_io, opsets=[("", version)])))


def test_newer_ir_version_is_refused(onnx_file: Make, make_model: Make, make_io: Make) -> None:
    with pytest.raises(ModelError, match=r"has IR version 99, .* reads up to \d+"):
        read_signature(onnx_file(relu(make_model, make_io, ir_version=99)))


def test_unknown_operator_domain_is_refused_also_in_a_subgraph(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    inner = helper.make_graph(
        [helper.make_node("Fancy", ["x"], ["z"], domain="acme")], "b", [], [make_io("z", ["n", 4])]
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    inputs = [make_io("x", ["n", 4]), make_io("c", [], TensorProto.BOOL)]
    proto = make_model(nodes, inputs, [make_io("y", ["n", 4])], opsets=[("", 17), ("acme", 1)])
    with pytest.raises(ModelError, match=r"operator 'acme\.Fancy'") as caught:
        read_signature(onnx_file(proto))
    assert "custom operator" in caught.value.hint


def test_functions_of_the_model_itself_are_known(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    own = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    proto = make_model(
        [helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        [make_io("x", ["n", 4])],
        [make_io("y", ["n", 4])],
        opsets=[("", 17), ("mine", 1)],
        functions=[own],
    )
    path = onnx_file(proto)
    assert read_signature(path).opset == {"ai.onnx": 17, "mine": 1}
    check_model(path)


def test_outputs_that_are_no_tensors_are_refused_with_the_exporters_option(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    with pytest.raises(ModelError, match=r"the output 'y' .* is not a tensor") as caught:
        read_signature(onnx_file(make_model(nodes, [make_io("x", [4])], [output])))
    assert "zipmap=False" in caught.value.hint


def test_missing_external_data_is_refused(onnx_file: Make, make_classifier: Make) -> None:
    path = onnx_file(make_classifier(), external="w.bin")
    path.with_name("w.bin").unlink()
    with pytest.raises(ModelError, match=r"keeps weights in 'w.bin', which is not there") as caught:
        read_signature(path)
    assert "copy the data file" in caught.value.hint


def test_short_external_data_is_refused_with_both_sizes(
    onnx_file: Make, make_classifier: Make
) -> None:
    path = onnx_file(make_classifier(), external="w.bin")
    data = path.with_name("w.bin")
    size = data.stat().st_size
    os.truncate(data, size - 1)
    with pytest.raises(ModelError, match=f"has {size - 1} bytes, the model needs {size}"):
        read_signature(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "C:\\w", "", "a//b"])
def test_external_data_outside_the_folder_is_refused(
    location: str, onnx_file: Make, make_classifier: Make
) -> None:
    path = onnx_file(make_classifier(), external="w.bin")
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="no path inside the model's folder"):
        read_signature(path)


def test_external_data_behind_a_link_out_of_the_folder_is_refused(
    onnx_file: Make, make_classifier: Make, tmp_path: Path
) -> None:
    path = onnx_file(make_classifier(), "in/m.onnx", external="w.bin")
    data = path.with_name("w.bin")
    data.rename(tmp_path / "outside.bin")
    data.symlink_to(tmp_path / "outside.bin")
    with pytest.raises(ModelError, match="leads outside the model's folder"):
        read_signature(path)


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-1"), ("length", "x"), ("offset", "9" * 30)]
)
def test_external_data_with_nonsense_numbers_is_refused(
    key: str, value: str, onnx_file: Make, make_classifier: Make
) -> None:
    path = onnx_file(make_classifier(), external="w.bin")
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="which is not a size"):
        read_signature(path)


def test_full_check_passes_a_good_model(classifier_file: Path) -> None:
    check_model(classifier_file)


def test_full_check_passes_external_data(onnx_file: Make, make_classifier: Make) -> None:
    check_model(onnx_file(make_classifier(), external="w.bin"))


def test_full_check_refuses_shapes_that_contradict(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    proto = make_model(nodes, [make_io("x", [2, 3])], [make_io("y", [2, 3])])
    with pytest.raises(ModelError, match="failed 'check'"):
        check_model(onnx_file(proto))


def test_full_check_refuses_an_operator_that_the_runtime_lacks(
    onnx_file: Make, make_model: Make, make_io: Make
) -> None:
    nodes = [helper.make_node("NoSuchOp", ["x"], ["y"], domain="com.microsoft")]
    proto = make_model(
        nodes,
        [make_io("x", [2])],
        [make_io("y", [2])],
        opsets=[("", 17), ("com.microsoft", 1)],
    )
    path = onnx_file(proto)
    read_signature(path)
    with pytest.raises(ModelError, match=r"ONNX Runtime .* cannot load it: .*NoSuchOp"):
        check_model(path)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=6), st.booleans())
def test_a_damaged_model_is_read_or_refused_never_a_crash(
    classifier_file: Path, tmp_path: Path, at: int, junk: bytes, insert: bool
) -> None:
    good = classifier_file.read_bytes()
    # The head and the tail hold the structure; the middle is weights.
    at = at % 200 if at % 2 else len(good) - 300 + at % 300
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(good[:at] + junk + good[at + (0 if insert else len(junk)) :])
    try:
        read_signature(damaged)
    except ModelError as exc:
        assert str(damaged) in exc.message or "tensor" in exc.message
