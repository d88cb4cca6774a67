"""From inputs and labels as people have them to those that a learner was trained on."""

from typing import Any, NamedTuple, Sequence

import numpy as np


class Raw(NamedTuple):
  """What the inputs and targets of a run were before they became those of its learner.

  image: height, width and channels of images; () for vectors. Images are uint8, divided by 255
  ink: whether images are drawings with ink 255 on paper 0; files, which are dark on white, are inverted
  centre, scale: of vectors, `(x - centre) / scale`; () for none
  target_centre, target_scale: of real targets, likewise
  columns: the names of the entries of a vector, for messages
  classes: the names of the classes if they are the same in every task, as in a table; () if each task has its own
  """
  image: tuple[int, ...] = ()
  ink: bool = False
  centre: tuple[float, ...] = ()
  scale: tuple[float, ...] = ()
  target_centre: float = 0.0
  target_scale: float = 1.0
  columns: tuple[str, ...] = ()
  classes: tuple[str, ...] = ()


def prepared(raw: Raw, shape: tuple[int, ...], given: Any) -> tuple[np.ndarray, bool]:
  """Returns inputs `[N, *shape]` in float32 for a learner, and whether a single one without the axis N was given.

  Images may be uint8 in [0, 255] or reals in [0, 1], `[N, H, W, C]`, `[N, H, W]` or one of them; other sizes are
  cropped and resized as the readers of image files do. Vectors are `[N, D]` or `[D]`.

  Raises:
    ValueError: for another shape, values out of range or non-finite values.
  """
  array = np.asarray(given)
  if array.dtype == object or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
    raise ValueError(f"inputs must be one array of numbers, but they are {array.dtype} of shape {list(array.shape)}.")
  if not np.isfinite(array).all():
    raise ValueError("inputs must be finite, but some are NaN or infinite; fill or remove them.")
  if raw.image:
    return _images(raw.image, array)
  one = array.ndim == len(shape)
  array = array[None] if one else array
  if array.shape[1:] != shape:
    named = f" ({', '.join(raw.columns)})" if raw.columns else ""
    raise ValueError(f"inputs must be [N, {', '.join(map(str, shape))}]{named}, or one of them, but they are "
                     f"{list(np.shape(given))}.")
  wide = array.astype(np.float64)
  if raw.scale:
    wide = (wide - np.asarray(raw.centre)) / np.asarray(raw.scale)
  elif array.dtype == np.uint8:
    wide = wide / 255
  return wide.astype(np.float32), one


def _images(image: tuple[int, ...], array: np.ndarray) -> tuple[np.ndarray, bool]:
  height, width, channels = image
  plain = array.ndim >= 2 and array.shape[-1] not in (1, 3, 4) or array.shape[-2:] == (height, width)
  array = array[..., None] if plain else array
  if array.ndim not in (3, 4) or array.shape[-1] not in (1, 3):
    raise ValueError(f"images must be [N, height, width, 1 or 3], or one of them, but they are {list(array.shape)}; "
                     f"the model was trained on [{height}, {width}, {channels}].")
  one = array.ndim == 3
  array = array[None] if one else array
  if array.dtype != np.uint8:
    if array.size and (array.min() < 0 or array.max() > 1):
      raise ValueError("images must be uint8 in [0, 255] or reals in [0, 1], but they are "
                       f"{array.dtype} from {array.min():.4g} to {array.max():.4g}; convert them.")
    if array.shape[1:] == image:
      return array.astype(np.float32), one
    array = np.round(array.astype(np.float64) * 255).astype(np.uint8)
  if array.shape[1:] != image:
    array = np.stack([_fitted(each, image) for each in array]) if len(array) else np.zeros((0, *image), np.uint8)
  return array.astype(np.float32) / 255, one


def _fitted(array: np.ndarray, image: tuple[int, ...]) -> np.ndarray:
  """Returns one image of bytes, fitted to the shape `image` as the readers of image files do."""
  # Only images of another size need the extra `data`; a stored model is used without it.
  from PIL import Image  # pylint: disable=import-outside-toplevel

  from metajax.data import pixels  # pylint: disable=import-outside-toplevel
  return pixels.fitted(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), *image)


def classes_of(raw: Raw, labels: Any, most: int) -> tuple[np.ndarray, list[Any]]:
  """Returns labels `[N]` of any kind as integers, and the labels in that order.

  Raises:
    ValueError: if they are not `[N]`, there are more than `most`, or the run does not know one of `raw.classes`.
  """
  array = np.asarray(labels)
  if array.ndim != 1:
    raise ValueError(f"labels must be [N], one per example, but they are {list(array.shape)}.")
  names: Sequence[Any] = list(dict.fromkeys(array.tolist()))
  if len(names) > most:
    raise ValueError(f"the model learns tasks of up to {most} classes, but there are {len(names)} labels: "
                     f"{', '.join(map(str, names[:10]))}; train with as many ways (config.ways={len(names)}).")
  if raw.classes:
    given = {str(name): name for name in names}
    if unknown := [name for name in given if name not in raw.classes]:
      raise ValueError(f"the classes of this run are {', '.join(raw.classes)}, but there are labels "
                       f"{', '.join(unknown)}.")
    names = [given.get(name, name) for name in raw.classes]
  index = {name: number for number, name in enumerate(names)}
  return np.asarray([index[name] for name in array.tolist()], np.int32), list(names)
