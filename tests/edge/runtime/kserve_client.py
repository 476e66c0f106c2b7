"""KServe's clients in a process of their own: a job as JSON on stdin, what they got on stdout.

Runs in the environment of ``requirements/kserve.txt``, because KServe's distribution brings its
server along and would decide versions of everything else; so it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    InferResponse,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput

NUMPY = {
    "BOOL": "bool",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    **{
        f"{kind}{bits}": f"{kind.lower()}{bits}"
        for kind in ("INT", "UINT")
        for bits in (8, 16, 32, 64)
    },
}


def tensor(item: dict[str, Any], *, binary: bool) -> InferInput:
    datatype = item["datatype"]
    if datatype == "BYTES":
        array = np.array([text.encode() for text in item["data"]], np.object_)
    else:
        array = np.array(item["data"], NUMPY[datatype])
    given = InferInput(item["name"], item["shape"], datatype)
    given.set_data_from_numpy(array.reshape(item["shape"]), binary_data=binary)
    return given


def request(job: dict[str, Any]) -> InferRequest:
    asked = job.get("outputs")
    return InferRequest(
        job["model"],
        [tensor(item, binary=job["binary"]) for item in job["inputs"]],
        request_id=job.get("id"),
        request_outputs=None if asked is None else [RequestedOutput(name) for name in asked],
        parameters={"binary_data_output": True} if job["binary"] and job["rest"] else None,
    )


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def answer(found: InferResponse) -> dict[str, Any]:
    outputs = {
        item.name: [plain(value) for value in item.as_numpy().reshape(-1).tolist()]
        for item in found.outputs
    }
    shapes = {item.name: list(item.shape) for item in found.outputs}
    return {"id": found.id, "model": found.model_name, "outputs": outputs, "shapes": shapes}


async def over_rest(port: int, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        found: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model": await client.is_model_ready(url, "pair"),
            "no model": await client.is_model_ready(url, "none"),
        }
        found["answers"] = [
            answer(await client.infer(url, request(job | {"rest": True}), model_name=job["model"]))
            for job in jobs
        ]
        bad = jobs[0] | {"inputs": jobs[0]["inputs"][:1], "rest": True}
        try:
            await client.infer(url, request(bad), model_name="pair")
        except httpx.HTTPStatusError as exc:
            found["error"] = [exc.response.status_code, str(exc)]
    return found


async def over_grpc(port: int, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    async with InferenceGRPCClient(f"127.0.0.1:{port}", timeout=20) as client:
        found: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("pair"),
            "no model": await client.is_model_ready("none"),
        }
        found["answers"] = [
            answer(await client.infer(request(job | {"rest": False}))) for job in jobs
        ]
        bad = jobs[0] | {"inputs": jobs[0]["inputs"][:1], "rest": False}
        try:
            await client.infer(request(bad))
        except grpc.RpcError as exc:
            found["error"] = [exc.code().name, exc.details()]
    return found


async def main() -> None:
    job = json.load(sys.stdin)
    found = {
        "rest": await over_rest(job["port"], job["jobs"]),
        "grpc": await over_grpc(job["grpc_port"], job["jobs"]),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
