"""Image steps: resize, crop, letterbox, grayscale; arrays ``[h, w]`` or ``[h, w, c]``."""

from __future__ import annotations

import numpy as np

from edge_components.contract.pipeline import Crop, Letterbox, PreprocessStep, Resize
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.geometry import Geometry, crop_corner, letterbox_fit

_MAX_ELEMENTS = 1 << 26


def resize(array: Array, size: tuple[int, int], method: str) -> Array:
    """Resize an image, colour by colour where Pillow has no such mode.

    Raises:
        PipelineError: It is no image, or the result would be too large.
    """
    from PIL import Image  # noqa: PLC0415  # a device without images does not pay for Pillow

    height, width = size
    if array.ndim not in {2, 3} or 0 in array.shape or not (height > 0 and width > 0):
        raise PipelineError(f"resize needs an image, not an array of shape {list(array.shape)}")
    if height * width > _MAX_ELEMENTS:
        raise PipelineError(f"resize to {list(size)} is too large")
    resampling = Image.Resampling[method.upper()]
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] == 3):
        return np.asarray(Image.fromarray(array).resize((width, height), resampling))
    planes = array[..., np.newaxis] if array.ndim == 2 else array
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., index], dtype=np.float32)).resize(
                (width, height), resampling
            )
        )
        for index in range(planes.shape[2])
    ]
    return resized[0] if array.ndim == 2 else np.stack(resized, axis=-1)


def crop(array: Array, step: Crop) -> Array:
    """Cut a part out of an image.

    Raises:
        PipelineError: The part is not inside the image.
    """
    if array.ndim not in {2, 3}:
        raise PipelineError(f"crop needs an image, not an array of shape {list(array.shape)}")
    height, width = step.size
    top, left = crop_corner(array.shape[0], array.shape[1], step.size, step.at)
    if top < 0 or left < 0 or top + height > array.shape[0] or left + width > array.shape[1]:
        raise PipelineError(
            f"crop of {list(step.size)} at {[top, left]} is not inside an image of "
            f"{list(array.shape[:2])}"
        )
    return array[top : top + height, left : left + width]


def letterbox(array: Array, step: Letterbox) -> Array:
    """Fit an image into a box with its ratio kept.

    Raises:
        PipelineError: It is no image.
    """
    if array.ndim not in {2, 3}:
        raise PipelineError(f"letterbox needs an image, not an array of shape {list(array.shape)}")
    fit = letterbox_fit(array.shape[0], array.shape[1], step.size)
    inner = resize(array, (fit.height, fit.width), step.method)
    pad = min(255, max(0, round(step.pad))) if inner.dtype == np.uint8 else step.pad
    result = np.full((*step.size, *inner.shape[2:]), pad, dtype=inner.dtype)
    result[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width] = inner
    return result


def grayscale(array: Array) -> Array:
    """Turn colours into luma.

    Raises:
        PipelineError: It has not three colours.
    """
    if array.ndim == 2:
        return array
    if array.ndim != 3 or array.shape[2] != 3:
        raise PipelineError(f"grayscale needs [h, w, 3], not {list(array.shape)}")
    luma = array.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(luma).astype(np.uint8) if array.dtype == np.uint8 else luma


def follow(geometry: Geometry | None, step: PreprocessStep) -> Geometry | None:
    """Return where the pixels lie after a step that was applied."""
    if geometry is None:
        return None
    match step:
        case Resize():
            return geometry.resized(*step.size)
        case Crop():
            top, left = crop_corner(geometry.height, geometry.width, step.size, step.at)
            return geometry.moved(-top, -left, *step.size)
        case Letterbox():
            fit = letterbox_fit(geometry.height, geometry.width, step.size)
            return geometry.boxed(fit, *step.size)
    return geometry
