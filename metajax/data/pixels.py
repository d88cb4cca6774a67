"""Pixels of more than 8 bits, and of numbers that are not bytes: they keep their levels.

Pillow clips such images to [0, 255] when it converts them, which turns them white. Whole numbers are scaled to [0, 1]
by the bits that the largest of the data set needs, alike for all of its images; reals are kept as they are.
"""

from typing import Sequence

from PIL import Image, ImageOps
import numpy as np

_DEEP = ("I", "F")  # beginnings of Pillow's modes of more than 8 bits, such as I;16


def is_deep(image: Image.Image) -> bool:
  """Returns whether an opened image has more than 8 bits per pixel, which Pillow reads as one channel."""
  return image.mode.startswith(_DEEP)


def decode_deep(image: Image.Image, image_size: int) -> np.ndarray:
  """Returns such an image, centre-cropped and resized, as int32 or, if its pixels are reals, float32 `[size, size]`.

  Raises:
    ValueError: if a pixel is not finite.
  """
  upright = ImageOps.exif_transpose(image)
  assert upright is not None
  raw = np.asarray(upright)
  if not np.isfinite(raw).all():
    raise ValueError("it has pixels that are not finite")
  square = ImageOps.fit(Image.fromarray(raw.astype(np.float32)), (image_size, image_size), Image.Resampling.LANCZOS)
  kept = np.clip(np.asarray(square), raw.min(), raw.max())  # resampling overshoots at edges
  return kept if raw.dtype.kind == "f" else np.rint(kept.astype(np.float64)).astype(np.int32)


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
  """Returns images of one size as one array; if their types differ, as float32, whole numbers in [0, 1]."""
  if len({image.dtype for image in images}) == 1:
    return np.stack(images)
  top = max((int(image.max()) for image in images if image.dtype == np.int32), default=0)
  unit = [in_unit_range(image, top) for image in images]
  return np.stack([image.astype(np.float32) / 255 if image.dtype == np.uint8 else image for image in unit])


def in_unit_range(images: np.ndarray, top: int | None = None) -> np.ndarray:
  """Returns whole numbers in [0, 255] as uint8, larger ones as float32 in [0, 1], and all else as float32, unchanged.

  Numbers that are 0 and 1 only, or negative, are not changed either.

  Args:
    images: any array of numbers.
    top: the largest number of the whole data set; by default that of `images`.
  """
  if images.dtype == np.uint8:
    return images
  if images.dtype.kind not in "iu" or not images.size or images.min() < 0:
    return images.astype(np.float32)
  top = int(images.max()) if top is None else top
  if top <= 1:
    return images.astype(np.float32)
  if top <= 255:
    return images.astype(np.uint8)
  return (images / np.float64(2 ** top.bit_length() - 1)).astype(np.float32)
