"""Asking a device with labelled samples: a small Open Inference Protocol client."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from edgectl.errors import ProviderError

BATCH = 16
TIMEOUT_S = 10.0


class Score(msgspec.Struct, frozen=True):
    """How a device did: samples answered, and the share of right answers."""

    answers: int
    accuracy: float


def score_device(url: str, model: str, samples: Path) -> Score:
    """Send samples to a model on a device over REST and compare with their labels.

    Args:
        url: The device's address.
        model: The model's name there: the application's.
        samples: An archive with one ``input.<tensor>`` and ``labels``.

    Raises:
        ProviderError: The device does not answer as the protocol says.
    """
    import numpy as np  # noqa: PLC0415 - only here

    with np.load(samples, allow_pickle=False) as data:
        name = next(key for key in data.files if key.startswith("input."))
        inputs, labels = data[name], data["labels"]
    address = urlsplit(url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port or 80, timeout=TIMEOUT_S
    )
    right = 0
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        request = {
            "inputs": [
                {
                    "name": name.removeprefix("input."),
                    "shape": batch.shape,
                    "datatype": "FP32",
                    "data": batch.ravel().tolist(),
                }
            ]
        }
        answer = _call(
            connection, "POST", f"/v2/models/{model}/infer", msgspec.json.encode(request)
        )
        output = answer["outputs"][0]
        found = np.array(output["data"]).reshape(output["shape"]).argmax(axis=-1)
        right += int((found == labels[start : start + BATCH]).sum())
    connection.close()
    return Score(len(inputs), right / len(inputs))


def _call(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> Any:
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise ProviderError(f"{connection.host}:{connection.port} does not answer: {exc}") from exc
    if response.status != 200:
        raise ProviderError(
            f"{path} answered {response.status}: {content[:200].decode(errors='replace')}"
        )
    return msgspec.json.decode(content)
