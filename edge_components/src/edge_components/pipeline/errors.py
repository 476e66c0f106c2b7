"""The pipeline's error: a reading or a step that does not work, in one sentence."""

from __future__ import annotations


class PipelineError(ValueError):
    """A reading cannot be read, or a step does not fit what it gets."""


class Abandoned(Exception):  # noqa: N818  # nothing went wrong
    """There is no use in waiting for an answer any longer."""
