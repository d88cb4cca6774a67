"""A CSV or Parquet table with a group column: one task per group, regression or classification.

Inputs, and the targets of a regression, are standardised by the mean and standard deviation of the training groups.
"""

from pathlib import Path
from typing import Any, NamedTuple, Sequence

import numpy as np
import pyarrow
from pyarrow import csv, parquet

from metajax.data.download import check_fits
from metajax.tasks.class_data import SPLITS, check_disjoint, check_split, from_arrays, split_classes
from metajax.tasks.groups import GroupData, by_group

_MISSING = frozenset(csv.ConvertOptions().null_values)  # the words for a missing number in a CSV file; with ""


class Standard(NamedTuple):
  """How columns were standardised: `(x - mean) / spread`."""
  mean: np.ndarray  # [columns]
  spread: np.ndarray  # [columns], 1 for a constant column


class Table(NamedTuple):
  """The groups of each split, and the meaning of their columns."""
  splits: dict[str, GroupData]  # train, val and test
  columns: tuple[str, ...]  # the names of the inputs, in order
  classes: tuple[str, ...]  # the classes of the target; empty for a regression
  inputs: Standard
  target: Standard | None  # of a regression
  left_out: tuple[str, ...] = ()  # columns without numbers, which are no inputs unless they are named


def load(path: Path | str, *, group: str, target: str, inputs: Sequence[str] = (), classification: bool = False,
         split: str = "", shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> Table:
  """Returns the groups of a table, split into train, val and test.

  Args:
    path: a file `.csv` with a header, or `.parquet`.
    group: the column that names the task of each row.
    target: the column to predict.
    inputs: the columns to predict it from, which must be numbers; by default all other columns of numbers.
    classification: whether the target is a class, given as a number or a word; otherwise it is a real number.
    split: a column with the words train, val and test; by default the groups are split at random with a fixed seed.
    shares, seed: the fractions and the seed of the random split.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read, lacks a column, or a cell is missing or not a number (row and column are named).
      Missing are the words for it that CSV files use, such as an empty cell, NA or NaN, in all columns alike.
  """
  path = Path(path).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f"expected a table .csv or .parquet, but there is no file {path}.")
  table = _read(path)
  names = table.column_names
  others = tuple(name for name in names if name not in (group, target, split))
  chosen = tuple(inputs) or tuple(name for name in others if _holds_numbers(table.column(name).type))
  for name in (group, target, *chosen, *([split] if split else [])):
    if name not in names:
      raise ValueError(f"{path} has no column {name!r}; its columns are {', '.join(names)}.")
  if not chosen:
    words = f" ({', '.join(map(repr, others))} {'holds' if len(others) == 1 else 'hold'} none)" if others else ""
    raise ValueError(f"{path} has no column of numbers to predict {target!r} from besides {group!r}{words}; add one.")
  features = np.stack([_numbers(table, name, path) for name in chosen], axis=1)
  groups = _words(table, group, path)
  classes: tuple[str, ...] = ()
  targets: np.ndarray
  if classification:
    found, numbers = np.unique(_words(table, target, path), return_inverse=True)
    classes, targets = tuple(map(str, found)), numbers.astype(np.int32)
    if len(classes) < 2:
      raise ValueError(f"column {target!r} of {path} names {len(classes)} class, but there must be 2 or more.")
  else:
    targets = _numbers(table, target, path)[:, None]
  split_of = _splits(table, groups, split, shares, seed, path)
  for name in SPLITS:
    if not (split_of == name).any():
      raise ValueError(f"{path} has no row in its {name} split; give it more groups or other shares.")
  train = split_of == "train"
  standard = _standard(features[train])
  target_standard = None if classification else _standard(targets[train])
  features = _standardised(features, standard)
  if target_standard is not None:
    targets = _standardised(targets, target_standard)
  splits = {}
  for name in SPLITS:
    rows = split_of == name
    splits[name] = by_group(features[rows], targets[rows], groups[rows],
                            f"Table {path.name}, one task per {group}, the {name} groups.")
  left_out = () if inputs else tuple(name for name in others if name not in chosen)
  return Table(splits, chosen, classes, standard, target_standard, left_out)


def _read(path: Path) -> pyarrow.Table:
  readers: dict[str, Any] = {".csv": _read_csv, ".parquet": _read_parquet}
  if path.suffix.lower() not in readers:
    raise ValueError(f"a table must be a file {' or '.join(readers)}, but got {path}.")
  try:
    table = readers[path.suffix.lower()](path)
    if len(set(table.column_names)) < table.num_columns:
      raise ValueError("two columns have the same name")
  except (pyarrow.ArrowException, OSError, ValueError) as error:
    raise ValueError(f"{path} cannot be read as a table ({error}).") from error
  if not table.num_rows:
    raise ValueError(f"{path} has no rows.")
  return table


def _read_csv(path: Path) -> pyarrow.Table:
  return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))


def _read_parquet(path: Path) -> pyarrow.Table:
  about = parquet.read_metadata(path)
  check_fits(8 * about.num_rows * about.num_columns)  # a small file can hold very many equal cells
  return parquet.read_table(path)


def _numbers(table: pyarrow.Table, name: str, path: Path) -> np.ndarray:
  """A column as float64 [n]: numbers with a large offset lose their differences in float32."""
  if not _holds_numbers(kind := table.column(name).type):
    raise ValueError(f"column {name!r} of {path} must hold numbers, but holds {kind}; name the input columns without "
                     "it.")
  values = np.asarray(table.column(name).cast(pyarrow.float64(), safe=False).to_numpy(), np.float64)
  if (bad := ~np.isfinite(values)).any():
    raise ValueError(f"column {name!r} of {path} has no finite number in row {int(np.argmax(bad)) + 1}; fill or drop "
                     "such rows.")
  return values


def _holds_numbers(kind: pyarrow.DataType) -> bool:
  is_a = pyarrow.types
  return is_a.is_integer(kind) or is_a.is_floating(kind) or is_a.is_boolean(kind) or is_a.is_decimal(kind)


def _words(table: pyarrow.Table, name: str, path: Path) -> np.ndarray:
  words = ["" if value is None else str(value) for value in table.column(name).to_pylist()]
  for row, word in enumerate(words):
    if word.strip() in _MISSING:
      raise ValueError(f"column {name!r} of {path} has no value in row {row + 1}"
                       f"{f' but {word!r}' if word.strip() else ''}; fill or drop such rows.")
  return np.asarray(words)


def _splits(table: pyarrow.Table, groups: np.ndarray, column: str, shares: tuple[float, float, float], seed: int,
            path: Path) -> np.ndarray:
  """Train, val or test for each row [n]."""
  if column:
    words = _words(table, column, path)
    for word in np.unique(words).tolist():
      check_split(word)
    check_disjoint({split: np.unique(groups[words == split]).tolist() for split in SPLITS}, str(path))
    return words
  names = np.unique(groups)
  one_per_group = from_arrays(np.zeros(len(names), np.uint8), names)
  split_of = {name: split for split in SPLITS
              for name in split_classes(one_per_group, split, shares=shares, seed=seed).names}
  return np.asarray([split_of[name] for name in groups])


def _standard(known: np.ndarray) -> Standard:
  """Returns the mean and standard deviation of the columns of `known [n, columns]`."""
  mean, spread = known.mean(axis=0), known.std(axis=0)
  varies = known.max(axis=0) > known.min(axis=0)  # a constant has a tiny spread, by rounding
  return Standard(mean, np.where(varies & (spread > 0), spread, 1.0))


def _standardised(values: np.ndarray, standard: Standard) -> np.ndarray:
  return ((values - standard.mean) / standard.spread).astype(np.float32)
