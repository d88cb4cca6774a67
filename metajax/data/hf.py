"""Classes from a data set of Hugging Face `datasets`, or of anything else with columns; `datasets` is not imported."""

import io
from typing import Any, Iterator, Mapping

from PIL import Image
import numpy as np

from metajax.data.pixels import fitted, in_unit_range, is_deep, stacked
from metajax.tasks.class_data import ClassData, from_arrays


def from_hf(dataset: Any, *, inputs: str = "image", targets: str = "label", image_size: int = 0, grey: bool = False,
            source: str = "A data set with columns.") -> ClassData:
  """Returns the classes of a data set, with their names, for `metajax.tasks`.

  Args:
    dataset: one split, with columns such as `dataset["image"]`. The names of classes are those of
      `dataset.features[targets].names`, if there are any.
    inputs: the column of images (of Pillow, or their bytes, as `datasets` stores them) or of arrays of one shape.
    targets: the column of classes, whole numbers or words. Examples of None or, among named classes, of -1 have no
      label; they are left out, and `source` notes how many.
    image_size: the side of the squares that images are cropped and resized to; 0: images have one size already.
    grey: greyscale images instead of RGB.
    source: a sentence on where the data comes from, shown with results.

  Raises:
    ValueError: if it is several splits, lacks a column, has no labelled example, or images differ in size.

  >>> from metajax.data import from_hf
  >>> from_hf({"vector": [[0.0], [1.0], [2.0]], "kind": ["b", "a", "b"]}, inputs="vector", targets="kind").names
  ('a', 'b')
  """
  columns = list(getattr(dataset, "column_names", dataset))
  if isinstance(getattr(dataset, "column_names", None), Mapping):
    raise ValueError(f"the data set must be one split, but it has the splits {', '.join(columns)}; give one, such as "
                     f"dataset[{columns[0]!r}].")
  for name in (inputs, targets):
    if name not in columns:
      raise ValueError(f"the data set has no column {name!r}; its columns are {', '.join(map(str, columns))}.")
  feature = (getattr(dataset, "features", None) or {}).get(targets)
  names = getattr(feature, "names", None)
  labels = list(dataset[targets])
  kept = [label is not None and not (names and label == -1) for label in labels]
  if not any(kept):
    raise ValueError(f"column {targets!r} must have a label in some row, but all of its {len(labels)} rows have none.")
  examples = [_example(value, image_size, grey) for value in _rows(dataset[inputs], kept)]
  if len(shapes := sorted({example.shape for example in examples})) > 1:
    raise ValueError(f"the column {inputs!r} must hold arrays of one shape, but holds {shapes[0]} and {shapes[1]}; for "
                     "images, give image_size.")
  left_out = f" {len(kept) - sum(kept)} examples without a label are left out." if not all(kept) else ""
  whole = stacked(examples)
  return from_arrays(in_unit_range(whole) if whole.ndim == 4 else whole,
                     np.asarray([label for label, there in zip(labels, kept) if there]), source + left_out, names)


def _rows(column: Any, kept: list[bool]) -> Iterator[Any]:
  return (value for value, there in zip(column, kept) if there)


def _example(value: Any, image_size: int, grey: bool) -> np.ndarray:
  """One input as an array; an image as `[H, W, channels]`."""
  if isinstance(value, Mapping) and {"bytes", "path"} & set(value):  # not decoded
    value = Image.open(io.BytesIO(value["bytes"]) if value.get("bytes") else value["path"])
  if not isinstance(value, Image.Image):
    return np.asarray(value)
  if image_size:
    return fitted(value, image_size, image_size, 1 if grey else 3)
  if is_deep(value):
    deep = np.asarray(value)
    return np.repeat(deep.astype(np.float32 if deep.dtype.kind == "f" else np.int32)[..., None], 1 if grey else 3, 2)
  return np.asarray(value.convert("L" if grey else "RGB")).reshape(*value.size[::-1], -1)
