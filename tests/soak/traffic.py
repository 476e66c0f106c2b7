"""Who talks to the runtime during a soak: one thread each, and what it counts as good."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import malformed
import malformed_client
import numpy as np
import rt_models
import tritonclient.grpc as triton
from onnx import TensorProto
from report import Counts
from rt_process import Served

from edge_components.runtime.grpc.schema import MESSAGES

FACTORS = {1: 2.0, 2: 3.0}  # of the two releases
_INFER = f"/v2/models/{rt_models.APPLICATION}/infer"
_SWITCH_EVERY_S = 1.0
_PROBE_EVERY_S = 0.2
_BROKEN_EVERY_S = 0.002


def folders(root: Path) -> tuple[list[Path], Path]:
    """Lay out two releases, and a folder of further models."""
    make = rt_models.VersionMaker(root / "versions")
    releases = [
        make(
            number,
            {"fp32": lambda path, factor=factor: rt_models.scaling_model(path, factor)},
            golden=rt_models.scaling_golden(factor),
        )
        for number, factor in FACTORS.items()
    ]
    models = root / "models"
    rt_models.scaling_model(models / "twice.onnx", 2.0)
    rt_models.scaling_model(models / "other.onnx", 5.0)
    rt_models.identity_model(models / "cube.onnx", TensorProto.FLOAT, ["a", "b", "c"])
    rt_models.identity_model(models / "words.onnx", TensorProto.STRING, ["n"])
    rt_models.identity_model(models / "small.onnx", TensorProto.INT8, ["n"])
    rt_models.identity_model(models / "brain.onnx", TensorProto.BFLOAT16, ["n"])
    return releases, models


class Traffic:
    """All the clients of one soak."""

    def __init__(self, served: Served, releases: list[Path], seed: str) -> None:
        self.counts = Counts()
        self._served = served
        self._releases = releases
        self._seed = seed

    def threads(self, stop: threading.Event) -> list[threading.Thread]:
        """Return the clients, ready to start."""
        clients = (
            self._rest_json,
            self._rest_binary,
            self._rest_models,
            self._grpc,
            self._broken_rest,
            self._broken_grpc,
            self._probes,
            self._switches,
        )
        return [threading.Thread(target=self._until, args=(each, stop)) for each in clients]

    def _until(self, client: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            client(stop)
        except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs into the table
            self.counts.failed.append(f"{client.__name__}: {exc!r}")

    def _note(self, kind: str, *, right: bool, found: object) -> None:
        if right:
            self.counts.done[kind] += 1
        elif len(self.counts.failed) < 1000:
            self.counts.failed.append(f"{kind}: {str(found)[:500]}")

    # -- good requests

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._served.port, timeout=60)

    def _rest_json(self, stop: threading.Event) -> None:
        connection = self._connection()
        chooser = random.Random(f"{self._seed} json")
        for number in itertools.count():
            if stop.is_set():
                break
            rows = chooser.choice((1, 1, 1, 1, 7, 3000))
            values = [float(chooser.randrange(-999, 999)) for _ in range(4 * rows)]
            given = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": values}
            body = json.dumps({"id": str(number), "inputs": [given]})
            connection.request("POST", _INFER, body)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            right = answer.status == 200 and found["id"] == str(number)
            right = right and scaled(values, found["outputs"][0]["data"])
            self._note("REST JSON", right=right, found=(answer.status, found.get("error")))
        connection.close()

    def _rest_binary(self, stop: threading.Event) -> None:
        connection = self._connection()
        for number in itertools.count():
            if stop.is_set():
                break
            rows = (1, 1, 16, 6000)[number % 4]
            array = np.full((rows, 4), number % 100, np.float32)
            raw = array.tobytes()
            parameters = {"binary_data_size": len(raw)}
            given = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "parameters": parameters}
            document = {"inputs": [given], "parameters": {"binary_data_output": True}}
            head = json.dumps(document).encode()
            length = {"Inference-Header-Content-Length": str(len(head))}
            connection.request("POST", _INFER, head + raw, length)
            answer = connection.getresponse()
            data = answer.read()
            at = int(answer.getheader("Inference-Header-Content-Length") or len(data))
            values = list(struct.unpack(f"<{(len(data) - at) // 4}f", data[at:]))
            right = answer.status == 200 and scaled(array.ravel().tolist(), values)
            self._note("REST binary", right=right, found=(answer.status, data[:200]))
        connection.close()

    def _rest_models(self, stop: threading.Event) -> None:
        """Requests of all types, each on a connection of its own."""
        for model, (datatype, shape, values) in itertools.cycle(malformed.INPUTS.items()):
            if stop.is_set():
                break
            given = {"name": "x", "datatype": datatype, "shape": shape, "data": values}
            status, found = self._served.json(
                "POST", f"/v2/models/{model}/infer", {"inputs": [given]}
            )
            expected = [value * (2 if model == "twice" else 1) for value in values]
            right = status == 200 and found["outputs"][0]["data"] == expected
            self._note("REST, other models", right=right, found=(status, found))

    def _grpc(self, stop: threading.Event) -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{self._served.grpc_port}") as client:
            for number in itertools.count():
                if stop.is_set():
                    break
                rows = (1, 1, 1, 2000)[number % 4]
                array = np.full((rows, 4), number % 100, np.float32)
                given = triton.InferInput("x", [rows, 4], "FP32")
                given.set_data_from_numpy(array)
                found = client.infer(rt_models.APPLICATION, [given]).as_numpy("y")
                right = scaled(array.ravel().tolist(), found.ravel().tolist())
                self._note("gRPC", right=right, found=found[:2])

    # -- broken requests

    def _broken_rest(self, stop: threading.Event) -> None:
        endpoints = itertools.cycle(malformed.REST)
        for number in itertools.count():
            for data in malformed.rest_requests(f"{self._seed} {number}", next(endpoints), 20):
                if stop.wait(_BROKEN_EVERY_S):
                    return
                got = malformed_client.exchange(self._served.port, data)
                faults = malformed_client.faults(got)
                self._note("broken REST", right=not faults, found=(data[:300], faults))

    def _broken_grpc(self, stop: threading.Event) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._served.grpc_port}") as channel:
            calls = {
                method: channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
                for method in malformed.METHODS
            }
            for number, method in enumerate(itertools.cycle(calls)):
                for data in malformed.grpc_messages(f"{self._seed} {number}", method, 10):
                    if stop.wait(_BROKEN_EVERY_S):
                        return
                    error = calls[method].future(data, timeout=60).exception()
                    right = error is None or error.code() in malformed_client.CODES
                    self._note("broken gRPC", right=right, found=(method, data[:300], error))

    # -- who looks, and who changes

    def _probes(self, stop: threading.Event) -> None:
        while not stop.wait(_PROBE_EVERY_S):
            for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/v2/models/stats"):
                status, _, data = self._served.request("GET", path)
                self._note("probes", right=status == 200, found=(path, status, data[:300]))
            status, found = self._served.json("POST", "/v2/repository/index", {"ready": True})
            self._note("probes", right=status == 200, found=found)

    def _switches(self, stop: threading.Event) -> None:
        loads = MESSAGES["RepositoryModelLoadRequest"]
        with grpc.insecure_channel(f"127.0.0.1:{self._served.grpc_port}") as channel:
            load = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")
            for number in itertools.cycle((2, 1)):
                if stop.wait(_SWITCH_EVERY_S):
                    return
                order = {"version_dir": str(self._releases[number - 1]), "precision": "fp32"}
                status, found = self._served.control("POST", "/control/activate", order)
                self._note("switched releases", right=status == 200, found=found)
                self.counts.release = number
                status, found = self._served.json("POST", "/v2/repository/models/other/unload", {})
                self._note("unloaded a model", right=status == 200, found=found)
                load(loads(model_name="other").SerializeToString(), timeout=60)
                self._note("loaded a model", right=True, found=None)


def scaled(given: list[float], found: list[float]) -> bool:
    """Whether an answer is whole, and of one of the two releases."""
    return any(found == [value * factor for value in given] for factor in FACTORS.values())
