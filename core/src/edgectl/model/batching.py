"""How an array of samples becomes runs of a model.

A *unit* is the least that can be run: one row where all first dimensions vary, a full batch
where they are fixed, everything where there is no batch axis (a first dimension that varies at
the input and not at every output is a sequence, not a batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edge_components.contract.package import TensorSpec
from edgectl.errors import ModelError
from edgectl.model.runtime import Arrays
from edgectl.records import Record

MAX_ROWS_PER_RUN = 256


class Units(Record, frozen=True, kw_only=True):
    """How the given inputs divide.

    Attributes:
        count: Units in the arrays.
        rows: Samples in a unit.
        sliced: Rows of a unit, for every input that is divided; the others go along whole.
    """

    count: int
    rows: int
    sliced: dict[str, int]

    @property
    def samples(self) -> int:
        """Samples in the arrays."""
        return self.count * self.rows

    def take(self, arrays: Arrays, start: int, stop: int) -> Arrays:
        """Return the inputs of the units from ``start`` up to ``stop``."""
        return {
            name: array[start * self.sliced[name] : stop * self.sliced[name]]
            if name in self.sliced
            else array
            for name, array in arrays.items()
        }

    def pick(self, array: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Return the rows of an output, or of the labels, that belong to the given units."""
        if not self.sliced or array.ndim == 0 or self.count == 0:
            return array
        divided = array.reshape(self.count, -1, *array.shape[1:])
        return np.asarray(divided[units].reshape(-1, *array.shape[1:]))

    def runs(self, arrays: Arrays, *, max_rows: int = MAX_ROWS_PER_RUN) -> Iterator[Arrays]:
        """Yield inputs for one run after the other; a fixed batch is one unit a run."""
        fixed = self.rows != 1 or not self.sliced
        step = 1 if fixed else max_rows
        if set(self.sliced.values()) != {1}:
            step = 1
        for start in range(0, self.count, step):
            yield self.take(arrays, start, min(start + step, self.count))


def divide(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], arrays: Arrays) -> Units:
    """Say how arrays, one for each input, divide into units.

    Raises:
        ModelError: The arrays do not have the same number of samples, or none.
    """
    varying = [spec for spec in inputs if spec.shape and spec.shape[0] == -1]
    if varying:
        if any(not spec.shape or spec.shape[0] != -1 for spec in outputs):
            return Units(count=1, rows=1, sliced={})
        sliced = {spec.name: 1 for spec in varying}
    elif inputs and all(spec.shape and spec.shape[0] > 0 for spec in inputs):
        sliced = {spec.name: spec.shape[0] for spec in inputs}
    else:
        return Units(count=1, rows=1, sliced={})
    counts = {name: len(arrays[name]) / rows for name, rows in sliced.items()}
    count = next(iter(counts.values()))
    if len(set(counts.values())) != 1 or count != int(count) or count == 0:
        found = ", ".join(f"'{name}' {len(arrays[name])}" for name in sorted(sliced))
        raise ModelError(f"the inputs do not have one number of samples each, above 0: {found}")
    rows = set(sliced.values())
    return Units(count=int(count), rows=rows.pop() if len(rows) == 1 else 1, sliced=sliced)
