"""A loaded model on trial: what it runs is ended when its time is over.

A model may loop for as long as its input says, so what is tried with made-up samples must not be
waited for without end.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import onnxruntime as ort

from edge_components.runtime.oip.datatypes import Array

if TYPE_CHECKING:
    from edge_components.runtime.model import Model


class Trial:
    """Stands for a model in ``batching`` for so many seconds; later runs fail.

    Args:
        model: Loaded and warm.
        seconds: For all runs together.
    """

    def __init__(self, model: Model, seconds: float) -> None:
        self.provider = model.provider
        self.latency_s = model.latency_s
        self.inputs = model.inputs
        self.outputs = model.outputs
        self.runs_inline = model.runs_inline
        self._model = model
        self._options = ort.RunOptions()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run the model.

        Raises:
            ModelError: The model failed, or the time is over.
        """
        return self._model.run(feeds, options=self._options)

    def _end(self) -> None:
        self._options.terminate = True
