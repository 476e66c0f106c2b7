"""The steps after inference, whoever inferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_components.contract.pipeline import Pipeline, User
from edge_components.golden import Array
from edge_components.pipeline import parts
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.postprocess import Work, apply
from edge_components.pipeline.reading import Item


class Finish:
    """The steps after inference."""

    def __init__(
        self, pipeline: Pipeline, assets: Mapping[str, Sequence[str]], site: parts.Site
    ) -> None:
        self._labels = assets
        self.stages: dict[int, Any] = {}
        steps = self._steps = pipeline.postprocess
        try:
            for index, step in enumerate(steps):
                if isinstance(step, User):
                    chain = steps[: index + 1]
                    self.stages[index] = parts.build_user_step(step, chain, site)
        except PipelineError:
            parts.close_all(list(self.stages.values()))
            raise

    def __call__(self, tensors: Mapping[str, Array], item: Item) -> Work:
        """Turn outputs into an answer.

        Raises:
            PipelineError: A step does not fit the outputs.
        """
        work = Work(tensors, item.geometry)
        for index, step in enumerate(self._steps):
            stage = self.stages.get(index)
            if stage is None:
                apply(work, step, self._labels)
            else:
                stage.answer(work, item)
            if work.dropped and stage is not None:
                break
        work.settle()
        return work
