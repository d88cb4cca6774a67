"""Image classification from a folder with one sub-folder of images per class: `<root>/<class>/<image>`.

If the root has sub-folders train, val and test, these hold the classes of each split; otherwise the classes are split
at random with a fixed seed. Images are decoded once and kept in the user's cache. Images of more than 8 bits, such as
16-bit PNG and float TIFF, keep their levels (`data.pixels`).
"""

import hashlib
from pathlib import Path
from typing import Sequence

import numpy as np

from metajax.checks import check_name
from metajax.data import download as download_lib
from metajax.data import pixels
from metajax.tasks.class_data import SPLITS, ClassData, check_disjoint, check_split, split_classes

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_FORMAT = 3  # version of the cached arrays; increase it whenever decoding changes


def load(root: Path | str, split: str, *, image_size: int = 84, grey: bool = False,
         shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> ClassData:
  """Returns the classes of one split of a folder of images.

  Args:
    root: the folder.
    split: train, val or test.
    image_size: the side of the squares that images are centre-cropped and resized to.
    grey: greyscale instead of RGB.
    shares, seed: how classes are split if the folder has no splits, as in `split_classes`.

  Returns:
    `examples [n, image_size, image_size, 1 or 3]` uint8, or float32 if an image has more than 8 bits; `names` are
    those of the sub-folders.

  Raises:
    FileNotFoundError: if there is no such folder.
    ValueError: if there are no class folders, a class has no image, an image cannot be decoded (its path is named), or
      two splits have a class in common.
  """
  check_split(split)
  if image_size < 1:
    raise ValueError(f"image_size must be at least 1, not {image_size}.")
  root = Path(root).expanduser()
  if not root.is_dir():
    raise FileNotFoundError("expected a folder with one sub-folder of images per class, but there is no folder "
                            f"{root}.")
  source = f"Images of the folder {root.name}, the {split} classes"
  splits = {name: root / name for name in SPLITS if (root / name).is_dir()}
  if not splits:
    return split_classes(read(_folders(root), image_size, grey, f"{source} of a fixed draw (seed {seed})."), split,
                         shares=shares, seed=seed, fewest=2)
  if missing := [name for name in SPLITS if name not in splits]:
    raise ValueError(f"{root} has the split {' and '.join(splits)} but not {' and '.join(missing)}; give it all of "
                     f"{', '.join(SPLITS)}, or only class folders.")
  check_disjoint({name: [each.name for each in _folders(path)] for name, path in splits.items()}, str(root))
  own = _folders(splits[split])
  deep = _arrays(own, image_size, grey).dtype == np.int32  # all splits are then scaled alike
  parts = [_arrays(_folders(path), image_size, grey) for path in splits.values()] if deep else []
  return read(own, image_size, grey, source + ".", max((int(part.max()) for part in parts), default=None))


def decode(file: object, image_size: int, grey: bool = False) -> np.ndarray:
  """Returns an image, from a path or an open file, as uint8 `[image_size, image_size, 1 or 3]`.

  An image of more than 8 bits becomes int32 or float32, with its own numbers; see `pixels.fitted` and
  `pixels.in_unit_range`.

  Raises:
    ValueError: if it has too many pixels. Errors of Pillow are passed on.
  """
  return pixels.decode(file, image_size, image_size, 1 if grey else 3)


def read(classes: Sequence[Path], image_size: int, grey: bool, source: str, top: int | None = None) -> ClassData:
  """Returns all images of some class folders, in their order; from the user's cache if the files are unchanged.

  Arguments and errors as for `load`; `source` is a sentence on where the data comes from, shown with results; `top` is
  the largest whole number of the data set, if its images have more than 8 bits.
  """
  counts = [len(_images(folder)) for folder in classes]
  return ClassData(pixels.in_unit_range(_arrays(classes, image_size, grey), top), np.asarray(counts, np.int32),
                   tuple(folder.name for folder in classes), source)


def _arrays(classes: Sequence[Path], image_size: int, grey: bool) -> np.ndarray:
  """The images of some class folders with their own numbers, from the user's cache if the files are unchanged."""
  paths = [path for folder in classes for path in _images(folder)]
  stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
  key = hashlib.sha256(repr((_FORMAT, image_size, grey, stats)).encode()).hexdigest()[:16]
  return download_lib.cached_arrays(
      download_lib.cache_dir() / f"folder-{image_size}-{key}.npz", ("images",),
      lambda: {"images": pixels.stacked([_decode(path, image_size, grey) for path in paths])})["images"]


def _folders(root: Path) -> list[Path]:
  found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
  if not found:
    raise ValueError(f"{root} must hold one sub-folder of images per class, but has no sub-folders.")
  for path in found:
    check_name("class folder", path.name)
  return found


def _images(folder: Path) -> list[Path]:
  paths = sorted(path for path in folder.iterdir()
                 if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
  if not paths:
    raise ValueError(f"each class folder must hold images ({', '.join(SUFFIXES)}), but {folder} holds none; fill or "
                     "remove it.")
  return paths


def _decode(path: Path, image_size: int, grey: bool) -> np.ndarray:
  try:
    return decode(path, image_size, grey)
  except Exception as error:  # Pillow's decoders raise errors of any type for damaged files
    raise ValueError(f"{path} must be an image, but cannot be decoded ({error}); fix or remove it.") from error
