"""Small models and version folders for runtimes, as the agent lays them out."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_components.contract import package as pk
from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.release import RELEASE_TYPE, DeviceSettings, ReleaseDocument

APPLICATION = "plates"
OPSET = [helper.make_opsetid("", 18)]


def save(graph: onnx.GraphProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=OPSET, ir_version=10), path)
    return path


def scaling_model(path: Path, factor: float, *, width: int = 4) -> Path:
    """``y = factor * x`` for float32 ``[n, width]``."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")],
    )
    return save(graph, path)


def echo_model(path: Path, types: dict[str, int]) -> Path:
    """``y_T = x_T`` for a vector of each type."""
    names = list(types)
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"x_{name}"], [f"y_{name}"]) for name in names],
        "echo",
        [helper.make_tensor_value_info(f"x_{name}", types[name], ["n"]) for name in names],
        [helper.make_tensor_value_info(f"y_{name}", types[name], ["n"]) for name in names],
    )
    return save(graph, path)


def identity_model(path: Path, kind: int, dims: list[Any]) -> Path:
    """``y = x`` for tensors of an ONNX type and of a shape with fixed and free sizes."""
    ends = [helper.make_tensor_value_info(name, kind, dims) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    return save(helper.make_graph([node], "identity", ends[:1], ends[1:]), path)


def reshaping_model(path: Path) -> Path:
    """A model that says any number of rows and takes two."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "reshaping",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8])],
        [numpy_helper.from_array(np.array([8], dtype=np.int64), "shape")],
    )
    return save(graph, path)


def two_input_model(path: Path) -> Path:
    """``sum = a + b`` and ``diff = a - b`` for float32 ``[2, 2]``."""
    pair = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2])
        for name in ("a", "b", "sum", "diff")
    ]
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["diff"]),
    ]
    return save(helper.make_graph(nodes, "pair", pair[:2], pair[2:]), path)


def endless_model(path: Path, *, trips: int = 1 << 40, width: int = 4) -> Path:
    """A model that loops ``trips`` times before it gives back its input."""
    constant = numpy_helper.from_array(np.array(trips, dtype=np.int64), "trips")
    return _looping(path, [], [constant], width)


def hanging_model(path: Path, *, width: int = 4) -> Path:
    """A model that takes a while over one row, and loops without end over more."""
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Sub", ["rows", "one"], ["more"]),
        helper.make_node("Mul", ["more", "many"], ["without_end"]),
        helper.make_node("Add", ["without_end", "some"], ["trips"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([value], dtype=np.int64), name)
        for name, value in (("one", 1), ("many", 1 << 40), ("some", 100_000))
    ]
    return _looping(path, nodes, constants, width)


def counting_model(path: Path, *, width: int = 4) -> Path:
    """A model that loops as often as its largest number says: at once over zeros."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["trips"], to=TensorProto.INT64),
    ]
    return _looping(path, nodes, [], width)


def _looping(path: Path, nodes: list[Any], constants: list[Any], width: int) -> Path:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["cond_in"], ["cond_out"]),
            helper.make_node("Identity", ["v_in"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [*nodes, helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        constants,
    )
    return save(graph, path)


def golden_bytes(arrays: dict[str, np.ndarray[Any, Any]], *, compress: bool = False) -> bytes:
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", part.getvalue())
    return out.getvalue()


def scaling_golden(factor: float, *, width: int = 4, samples: int = 40) -> bytes:
    x = np.random.default_rng(3).standard_normal((samples, width)).astype(np.float32)
    return golden_bytes({"input.x": x, "output.y": x * np.float32(factor)})


class VersionMaker:
    """Lays out version folders as the agent does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self,
        number: int,
        models: dict[str, Callable[[Path], object]],
        *,
        golden: bytes | None = None,
        pipeline: dict[str, Any] | None = None,
        files: dict[str, bytes] | None = None,
        settings: DeviceSettings | None = None,
        atol: float = 1e-4,
        min_label_agreement: float = 0.0,
    ) -> Path:
        folder = self.root / str(number)
        package = folder / "package"
        variants = []
        contents: dict[str, bytes] = dict(files or {})
        for precision, build in models.items():
            path = f"model/{precision}.onnx"
            (package / "model").mkdir(parents=True, exist_ok=True)
            build(package / path)
            contents[path] = (package / path).read_bytes()
            variants.append(
                {
                    "precision": precision,
                    "path": path,
                    "files": [path],
                    "size_bytes": len(contents[path]),
                    "atol": atol,
                    "rtol": 1e-4,
                    "min_label_agreement": min_label_agreement,
                }
            )
        spec = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        info: dict[str, Any] = {
            "format": "edgectl.package/v1",
            "application": APPLICATION,
            "version": f"1.{number}.0",
            "model_digest": sha256_digest(b"model"),
            "inputs": spec,
            "outputs": spec,
            "opset": {"": 18},
            "ir_version": 10,
            "variants": variants,
        }
        if golden is not None:
            contents[pk.GOLDEN_FILE] = golden
            info["golden"] = pk.GOLDEN_FILE
        if pipeline is not None:
            contents[pk.PIPELINE_FILE] = canonical_json(pipeline)
            info["pipeline"] = pk.PIPELINE_FILE
        contents[pk.PACKAGE_FILE] = canonical_json(info)
        for path, data in contents.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_bytes(data)
        self._documents(folder, number, contents, settings or DeviceSettings())
        return folder

    def _documents(
        self, folder: Path, number: int, contents: dict[str, bytes], settings: DeviceSettings
    ) -> None:
        layers = tuple(
            pk.Descriptor(
                media_type=pk.WEIGHT_TYPE if path.endswith(".onnx") else pk.WEIGHT_CONFIG_TYPE,
                digest=sha256_digest(data),
                size=len(data),
                annotations={pk.FILEPATH: path},
            )
            for path, data in sorted(contents.items())
        )
        manifest = pk.Manifest(
            media_type=pk.MANIFEST_TYPE,
            artifact_type=pk.ARTIFACT_TYPE,
            config=pk.Descriptor(media_type=pk.CONFIG_TYPE, digest=sha256_digest(b"{}"), size=2),
            layers=layers,
        ).to_bytes()
        release = ReleaseDocument(
            application=APPLICATION,
            number=number,
            version=f"1.{number}.0",
            package=sha256_digest(manifest),
            settings=settings,
        )
        envelope = {
            "payload": base64.b64encode(release.to_bytes()).decode(),
            "payloadType": RELEASE_TYPE,
            "signatures": [{"sig": "AA=="}],
        }
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "release.json").write_bytes(msgspec.json.encode(envelope))
