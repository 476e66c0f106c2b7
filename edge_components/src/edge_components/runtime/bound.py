"""A session bound to buffers of its own: nothing is allocated, named or looked up at a run.

ONNX Runtime's IO binding takes about half the time of a plain run of a tiny model. A binding is
for one set of shapes. The shapes of the outputs are those that an earlier run had; ONNX Runtime
refuses to write another shape into them, and then the plain run is right and the binding is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnxruntime as ort

from edge_components.runtime.oip.datatypes import Array


class Bound:
    """Buffers to write inputs into and to read outputs from, and the run between them.

    Attributes:
        inputs: By name.
        outputs: In the model's order; the next run overwrites them.
        run: Runs the model; raises what ONNX Runtime raises.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
    ) -> None:
        self.inputs = {name: np.zeros_like(array, order="C") for name, array in inputs.items()}
        self.outputs = [np.zeros_like(array, order="C") for array in outputs.values()]
        binding = session.io_binding()
        # On the CPU an OrtValue shares the memory of its array, so the values live as long.
        self._values = [_value(array) for array in (*self.inputs.values(), *self.outputs)]
        for name, value in zip(self.inputs, self._values, strict=False):
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(outputs, self._values[len(self.inputs) :], strict=True):
            binding.bind_ortvalue_output(name, value)
        self.run = _runner(session, binding)


def _runner(session: ort.InferenceSession, binding: ort.IOBinding) -> Callable[[], None]:
    # The bound C objects, where there are any: the class around them looks for an entry of the
    # options by way of a C++ exception, which takes ten times as long as a tiny model.
    run = getattr(session, "_sess", session).run_with_iobinding
    target = getattr(binding, "_iobinding", binding)
    options = ort.RunOptions()
    return lambda: run(target, options)


def _value(array: Array) -> ort.OrtValue:
    value = ort.OrtValue.ortvalue_from_numpy(array)
    if value.data_ptr() != array.ctypes.data:
        raise ValueError("ONNX Runtime has copied a buffer instead of sharing it")
    return value
