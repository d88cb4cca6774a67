"""Learns a task from a few labelled examples with a finished run, and predicts others; writes a CSV.

  python -m launch.predict --workdir=runs/quickstart --support=cards --query=unsorted
                                                      images: one sub-folder per class; a folder of images
  python -m launch.predict --workdir=runs/table_ridge --support=known.csv --query=new.csv --target=pressure
                                                      tables with the columns of the training table

Needs no data set: the run's `model.zip` is enough. In Python: `metajax.load(workdir)`.
"""

import csv
from pathlib import Path
from typing import Any

from absl import flags
import numpy as np

from launch import command_line
from metajax import serving
from metajax.data import pixels
from metajax.data.folders import SUFFIXES

_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None, "the workdir of a finished run; required")
_SUPPORT = flags.DEFINE(command_line.Folder(), "support", None, "the labelled examples: a folder with one sub-folder "
                        "of images per class, or a .csv; required")
_QUERY = flags.DEFINE(command_line.Folder(), "query", None, "what to predict: a folder of images, or a .csv; required")
_TARGET = flags.DEFINE_string("target", None, "the column of the support .csv that holds the target")
_OUTPUT = flags.DEFINE(command_line.Folder(), "output", "predictions.csv", "the file to write")


def main(_: list[str]) -> None:
  for flag in (_WORKDIR, _SUPPORT, _QUERY):
    if not flag.value:
      raise ValueError(f"--{flag.name} is missing; give --workdir=<run> --support=<examples> --query=<examples>.")
  workdir, support, query = (Path(str(flag.value)) for flag in (_WORKDIR, _SUPPORT, _QUERY))
  model = serving.load(workdir)
  if not isinstance(model, serving.Learned):
    raise ValueError(f"--workdir={workdir} is a task that was learned already; name the workdir of a run.")
  read = _table if support.suffix == ".csv" else _folder
  inputs, targets, _ = read(model, support, labelled=True)
  queries, _, names = read(model, query, labelled=False)
  if read is _folder:
    inputs, queries = _in_unit_range(model.about["raw"], inputs, queries)
  predictor = model.adapt(inputs, targets)
  predictions = predictor(queries)
  labels = predictor.labels
  shares = predictor.probabilities(queries) if labels else np.zeros((len(names), 0))
  with open(_OUTPUT.value, "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["example", "prediction", *(f"probability of {label}" for label in labels)])
    for name, prediction, share in zip(names, predictions, shares, strict=True):
      value = np.asarray(prediction).ravel().tolist()
      writer.writerow([name, *(value if len(value) == 1 else [" ".join(map(str, value))]),
                       *(f"{part:.4f}" for part in share)])
  learned = f"{len(labels)} classes" if labels else "a function"
  print(f"Learned {learned} from {len(inputs)} examples; {len(names)} predictions are in {_OUTPUT.value}.")


def _folder(model: serving.Learned, root: Path, *, labelled: bool) -> tuple[Any, list[str], list[str]]:
  """Returns images with their own numbers, their labels if any, and their paths below the root."""
  raw = model.about["raw"]
  if not raw.image:
    raise ValueError(f"the model was not trained on images, but {root} is no .csv; give a table.")
  if raw.image[2] not in (1, 3):
    raise ValueError(f"image files have 1 or 3 channels, but the model was trained on {raw.image[2]}; use "
                     "metajax.load in Python.")
  if not root.is_dir():
    raise FileNotFoundError(f"expected a folder of images, but there is no folder {root}.")
  paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
  if labelled:
    paths = [path for path in paths if path.parent != root]
  if not paths:
    raise ValueError(f"{root} must hold {'one sub-folder of images per class' if labelled else 'images'}, but holds "
                     "none.")
  images = pixels.stacked([_image(path, raw) for path in paths])
  return images, [path.relative_to(root).parts[0] for path in paths], [str(path.relative_to(root)) for path in paths]


def _image(path: Path, raw: serving.Raw) -> np.ndarray:
  """Returns the image of a file as the reader of the training data would."""
  try:
    return pixels.decode(path, *raw.image)
  except Exception as error:  # Pillow's decoders raise errors of any type for damaged files
    raise ValueError(f"{path} must be an image, but cannot be decoded ({error}); fix or remove it.") from error


def _in_unit_range(raw: serving.Raw, *parts: np.ndarray) -> list[np.ndarray]:
  """Returns images of files as inputs of the model, those of more than 8 bits scaled alike in all parts."""
  top = max((int(part.max()) for part in parts if part.dtype == np.int32), default=None)
  scaled = [pixels.in_unit_range(part, top) for part in parts]
  return [(255 if part.dtype == np.uint8 else 1) - part if raw.ink else part for part in scaled]


def _table(model: serving.Learned, path: Path, *, labelled: bool) -> tuple[Any, list[Any], list[str]]:
  """Returns the input columns of a table, its target column if it is labelled, and the numbers of its rows."""
  raw = model.about["raw"]
  if not path.is_file():
    raise FileNotFoundError(f"expected a table .csv, but there is no file {path}.")
  with open(path, newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  if not raw.columns or not rows:
    raise ValueError(f"{path} has no rows." if raw.columns else
                     f"the model was not trained on a table, but {path} is one; give folders of images.")
  if labelled and not _TARGET.value:
    raise ValueError("--target is missing; name the column of the support table that holds the target.")
  wanted = [*raw.columns, *([_TARGET.value] if labelled else [])]
  if missing := [name for name in wanted if name not in rows[0]]:
    raise ValueError(f"{path} lacks the column {', '.join(missing)}; its columns are {', '.join(rows[0])}.")
  try:
    inputs = np.asarray([[float(row[name]) for name in raw.columns] for row in rows])
    targets = [row[_TARGET.value] for row in rows] if labelled else []
    if labelled and not model.about["classes"]:
      targets = [float(target) for target in targets]
  except ValueError as error:
    raise ValueError(f"{path} holds a cell that is not a number ({error}); fix or remove its row.") from error
  return inputs, targets, [str(number) for number in range(1, len(rows) + 1)]


if __name__ == "__main__":
  command_line.run(main)
