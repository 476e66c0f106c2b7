"""Windows over time series: which readings stand together, per key, and across restarts.

A window is complete when ``size`` readings of a key are there, and then every ``stride`` readings.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np

from edge_components.contract.pipeline import Window
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Item, Value

_SAFE_KINDS = "biuf"


class _Series:
    __slots__ = ("last_ns", "missing", "other", "rows")

    def __init__(self, size: int) -> None:
        self.rows: list[Array] = []
        self.missing = size
        self.last_ns = 0
        self.other: tuple[tuple[int, ...], np.dtype[Any]] | None = None  # refused last


class WindowStage:
    """Collects readings into windows.

    Attributes:
        forgotten: Series that had to make room for others.
    """

    def __init__(self, step: Window, state_key: str) -> None:
        self.state_key = state_key
        self.dirty = False
        self.forgotten = 0
        self._step = step
        self._series: OrderedDict[str, _Series] = OrderedDict()

    def __call__(self, item: Item) -> list[Item]:
        """Take a reading; return the windows that it completes.

        Raises:
            PipelineError: It is no reading of this series.
        """
        rows = self._rows(item.value)
        series = self._of(item.key, item.time_ns)
        self._check_follows(series, rows[0])
        self.dirty = True
        windows = [window for row in rows if (window := self._add(series, row)) is not None]
        return [
            Item(
                window,
                name=item.name if len(windows) == 1 else f"{item.name}-{index}",
                key=item.key,
                time_ns=item.time_ns,
            )
            for index, window in enumerate(windows)
        ]

    def dump(self) -> bytes:
        """Return all series as MessagePack."""
        return msgspec.msgpack.encode(
            [
                (key, one.missing, one.last_ns, *_packed(one.rows))
                for key, one in self._series.items()
            ]
        )

    def restore(self, data: bytes) -> None:
        """Take the series that ``dump`` gave.

        Raises:
            ValueError, msgspec.MsgspecError: They are no such thing.
        """
        found = msgspec.msgpack.decode(data, type=list[tuple[str, int, int, str, list[int], bytes]])
        self._series.clear()
        for key, missing, last_ns, dtype, shape, raw in found:
            series = self._series[key] = _Series(missing)
            series.last_ns = last_ns
            if shape:
                if np.dtype(dtype).kind not in _SAFE_KINDS:
                    raise ValueError(f"rows of type {dtype}")
                series.rows = list(np.frombuffer(raw, dtype=dtype).reshape(shape))

    def _check_follows(self, series: _Series, row: Array) -> None:
        """Refuse a reading of another form; the second such one in a row begins the window anew.

        One that went wrong must cost no window, and must not be the measure of all that follow.
        """
        form = (row.shape, row.dtype)
        if series.rows and form != (series.rows[0].shape, series.rows[0].dtype):
            if form != series.other:
                series.other = form
                raise PipelineError(
                    f"window: a reading of {list(row.shape)} {row.dtype} does not follow one "
                    f"of {list(series.rows[0].shape)} {series.rows[0].dtype}"
                )
            series.rows, series.missing = [], self._step.size
        series.other = None

    def _rows(self, value: Value) -> list[Array]:
        rank = self._step.rank
        if isinstance(value, str) or value.dtype.kind not in _SAFE_KINDS:
            raise PipelineError("window takes numbers; a text step comes before it")
        if value.ndim == rank:
            return [value]
        if value.ndim == rank + 1 and len(value):
            return list(value)
        raise PipelineError(
            f"window takes readings of {rank} axes or several of them, not {list(value.shape)}"
        )

    def _of(self, key: str, time_ns: int) -> _Series:
        step = self._step
        series = self._series.get(key)
        gap_ns = None if step.max_gap_s is None else step.max_gap_s * 1e9
        late = series is not None and gap_ns is not None and time_ns - series.last_ns > gap_ns
        if series is None or late:
            if key not in self._series and len(self._series) >= step.max_keys:
                self._series.popitem(last=False)
                self.forgotten += 1
            series = self._series[key] = _Series(step.size)
        self._series.move_to_end(key)
        series.last_ns = time_ns
        return series

    def _add(self, series: _Series, row: Array) -> Array | None:
        step, rows = self._step, series.rows
        rows.append(np.array(row))
        if len(rows) > step.size:
            del rows[0]
        series.missing -= 1
        if series.missing > 0:
            return None
        series.missing = step.stride
        return np.stack(rows)


def _packed(rows: list[Array]) -> tuple[str, list[int], bytes]:
    if not rows:
        return "", [], b""
    whole: np.ndarray[Any, Any] = np.stack(rows)
    return whole.dtype.str, list(whole.shape), whole.tobytes()
