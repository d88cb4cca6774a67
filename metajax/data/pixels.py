"""From an opened image to an array of one size, the same wherever an image is read: in training and in use.

Pixels of more than 8 bits, and numbers that are not bytes, keep their levels: Pillow clips them to [0, 255] when it
converts them, which turns them white. Whole numbers are scaled to [0, 1] by the bits that the largest of the data set
needs, alike for all of its images; reals are kept as they are.
"""

import contextlib
from pathlib import Path
from typing import Sequence

from PIL import Image, ImageOps
import numpy as np

_DEEP = ("I", "F")  # beginnings of Pillow's modes of more than 8 bits, such as I;16
_MAX_PIXELS = 50_000_000  # of an image; a small file can declare more pixels than fit in memory


def decode(file: object, height: int, width: int, channels: int) -> np.ndarray:
  """Returns the image of a path or an open file as `fitted` does."""
  # Not by its path: Pillow then maps an uncompressed TIFF into memory, and misreads one that lies on its side.
  with open(file, "rb") if isinstance(file, (str, Path)) else contextlib.nullcontext(file) as opened:
    with Image.open(opened) as image:  # type: ignore[arg-type]
      return fitted(image, height, width, channels)


def fitted(image: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
  """Returns an opened image, turned upright, centre-cropped and resized, as uint8 `[height, width, channels]`.

  Args:
    image: of any mode and size.
    height, width: the size to fit it to.
    channels: 1 for greyscale, 3 for RGB. An image of more than 8 bits has one channel, which is repeated.

  Returns:
    uint8; of an image of more than 8 bits its own numbers, as int32 or, if they are reals, float32.

  Raises:
    ValueError: if it has too many pixels, or one that is not finite. Errors of Pillow are passed on.
  """
  check_pixels(image)
  if is_deep(image):
    return np.repeat(_fitted_deep(image, height, width)[:, :, None], channels, axis=2)
  upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
  fit = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
  return np.asarray(fit).reshape(height, width, channels)


def check_pixels(image: Image.Image) -> None:
  """Raises ValueError if an opened image, which is not decoded yet, declares too many pixels."""
  if image.size[0] * image.size[1] > _MAX_PIXELS:
    raise ValueError(f"it has {image.size[0]} x {image.size[1]} pixels, more than {_MAX_PIXELS}")


def is_deep(image: Image.Image) -> bool:
  """Returns whether an opened image has more than 8 bits per pixel, which Pillow reads as one channel."""
  return image.mode.startswith(_DEEP)


def _fitted_deep(image: Image.Image, height: int, width: int) -> np.ndarray:
  """Returns an image of more than 8 bits as int32 or, if its pixels are reals, float32 `[height, width]`."""
  upright = ImageOps.exif_transpose(image)
  assert upright is not None
  raw = np.asarray(upright)
  if not np.isfinite(raw).all():
    raise ValueError("it has pixels that are not finite")
  fit = ImageOps.fit(Image.fromarray(raw.astype(np.float32)), (width, height), Image.Resampling.LANCZOS)
  kept = np.clip(np.asarray(fit), raw.min(), raw.max())  # resampling overshoots at edges
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
