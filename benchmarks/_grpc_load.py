"""Load over gRPC, and a bare server to compare with: the least that grpc.aio can do for a model."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _serving import Rates, cpu_s, environment, pinned

from edge_components.runtime.grpc.schema import MESSAGES, SERVICE

INFER = f"/{SERVICE}/ModelInfer"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
BARE = """
import asyncio, sys
import grpc, numpy as np, onnxruntime as ort
from edge_components.runtime.grpc.schema import MESSAGES, SERVICE

Request, Response = MESSAGES["ModelInferRequest"], MESSAGES["ModelInferResponse"]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
names = [node.name for node in session.get_outputs()]

async def infer(request, context):
    feeds = {
        tensor.name: np.frombuffer(raw, np.float32).reshape(tensor.shape)
        for tensor, raw in zip(request.inputs, request.raw_input_contents)
    }
    answer = Response(model_name="m", model_version="1", id=request.id)
    for name, array in zip(names, session.run(names, feeds)):
        answer.outputs.add(name=name, datatype="FP32", shape=array.shape)
        answer.raw_output_contents.append(array.tobytes())
    return answer

async def main():
    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=Request.FromString,
        response_serializer=Response.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler})
    server.add_generic_rpc_handlers([handlers])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


def infer_message(name: str, values: np.ndarray[Any, Any]) -> bytes:
    message = MESSAGES["ModelInferRequest"](model_name="m", id="1")
    message.inputs.add(name=name, datatype="FP32", shape=values.shape)
    message.raw_input_contents.append(values.astype(np.float32).tobytes())
    found: bytes = message.SerializeToString()
    return found


@contextlib.contextmanager
def bare_grpc(model: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Run the bare server; give its process id and port."""
    with pinned("-c", BARE, str(model), env=environment(folder)) as found:
        yield found


async def _load(port: int, message: bytes, calls: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds * 9 / 8
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
        infer = channel.unary_unary(INFER)

        async def caller() -> None:
            while (began := time.perf_counter()) < end:
                await infer(message)
                latencies.append(time.perf_counter() - began)

        callers = [asyncio.ensure_future(caller()) for _ in range(calls)]
        await asyncio.sleep(seconds / 8)
        latencies.clear()
        await asyncio.gather(*callers)
    return latencies


def measure_grpc(pid: int, port: int, message: bytes, calls: int, seconds: float) -> Rates:
    before, start = cpu_s(pid), time.perf_counter()
    found = asyncio.run(_load(port, message, calls, seconds))
    share = (cpu_s(pid) - before) / (time.perf_counter() - start)
    rate = len(found) / seconds
    p50, p99 = (float(q) for q in np.percentile(found, (50, 99)))
    return Rates(rate, rate / max(share, 0.01), p50, p99, share)
