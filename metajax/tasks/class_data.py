"""Labelled examples on the host, grouped by class: the return type of data readers, and functions to build it."""

from typing import Mapping, NamedTuple, Sequence

import numpy as np

SPLITS = ("train", "val", "test")


class ClassData(NamedTuple):
  """A labelled data set, its examples sorted by class.

  Class `c` has the rows `[counts[:c].sum(), counts[:c + 1].sum())` of `examples`.
  """
  examples: np.ndarray  # [n, ...] uint8 or float32
  counts: np.ndarray  # [classes] int32, at least 1 each
  names: tuple[str, ...]  # one per class
  source: str  # a sentence: where the data was read from, for logs and results
  groups: tuple[str, ...] = ()  # the group of each class (alphabet, super-class, domain); empty without groups


def from_arrays(inputs: np.ndarray, targets: np.ndarray, source: str = "Arrays.", names: Sequence[str] | None = None,
                groups: Sequence[str] = ()) -> ClassData:
  """Returns a labelled data set from `inputs [n, ...]` and the class of each, `targets [n]`.

  Args:
    inputs: uint8, or reals, which become float32.
    targets: integers or strings, in any order.
    source: a sentence on where the data comes from, shown with results.
    names: for integer targets, the names of class 0, 1 and so on; by default the numbers themselves.
    groups: the group of each class, in the order of the sorted classes, if any.

  Raises:
    ValueError: if lengths disagree, a target is not a class, or an input is not finite.
  """
  inputs, targets = np.asarray(inputs), np.asarray(targets)
  if targets.ndim != 1 or inputs.ndim < 1 or len(inputs) != len(targets) or not len(targets):
    raise ValueError(f"inputs [n, ...] and targets [n] must be of the same length, at least 1, but their shapes are "
                     f"{list(inputs.shape)} and {list(targets.shape)}.")
  if targets.dtype.kind not in "iuUS":
    raise ValueError(f"the targets must be integers or strings that name the classes, but they are {targets.dtype}; "
                     "for real targets group the rows by task instead (metajax.data.tables).")
  if targets.dtype.kind in "US" and (empty := np.char.str_len(np.char.strip(targets)) == 0).any():
    raise ValueError(f"each target must name a class, but target {int(np.argmax(empty))} (from 0) is empty; name it, "
                     "or drop such examples.")
  if inputs.dtype != np.uint8:
    if inputs.dtype.kind not in "fiub":
      raise ValueError(f"the inputs must be numbers, but they are {inputs.dtype}.")
    exact, inputs = inputs, inputs.astype(np.float32)
    if not np.isfinite(inputs).all():
      raise ValueError("the inputs must be finite, but some are NaN or Inf; fill or drop those examples.")
    if exact.ndim < 3 and exact.dtype.itemsize > 4:
      rounded = np.abs(exact - inputs.astype(np.float64)).max(axis=0) > 1e-2 * exact.std(axis=0)
      if rounded.any():
        raise ValueError(f"the inputs must differ in float32, but the numbers of column {int(np.argmax(rounded))} "
                         "(from 0) are large and almost equal; subtract their mean first.")
  classes, numbers, counts = np.unique(targets, return_inverse=True, return_counts=True)
  if names is not None:
    if classes.dtype.kind not in "iu" or classes[0] < 0 or classes[-1] >= len(names):
      raise ValueError(f"with {len(names)} names, targets must be integers in [0, {len(names)}), but they go from "
                       f"{classes[0]} to {classes[-1]}.")
    class_names = tuple(str(names[number]) for number in classes)
  else:
    class_names = tuple(each.decode() if isinstance(each, bytes) else str(each) for each in classes)
  if groups and len(groups) != len(classes):
    raise ValueError(f"each of the {len(classes)} classes must have a group, but there are {len(groups)}.")
  order = np.argsort(numbers, kind="stable")
  return ClassData(inputs[order], counts.astype(np.int32), class_names, source, tuple(groups))


def numbered(data: ClassData) -> ClassData:
  """Returns the data with images `[1, 1, 1]` float32 that hold the number of their class.

  Tasks on it draw the same classes with the same keys, so they tell which class, such as `names[number]`, a label is.
  """
  numbers = np.repeat(np.arange(len(data.counts), dtype=np.float32), data.counts)
  return data._replace(examples=numbers[:, None, None, None])


def take_classes(data: ClassData, classes: Sequence[int]) -> ClassData:
  """Returns the data of the given class numbers, in that order."""
  starts = np.concatenate([[0], np.cumsum(data.counts)])
  rows = [np.arange(starts[number], starts[number + 1]) for number in classes]
  return data._replace(
      examples=data.examples[np.concatenate(rows)], counts=data.counts[list(classes)].astype(np.int32),
      names=tuple(data.names[number] for number in classes),
      groups=tuple(data.groups[number] for number in classes) if data.groups else ())


def split_classes(data: ClassData, split: str, *, shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
                  seed: int = 0, fewest: int = 1) -> ClassData:
  """Returns the classes of one split (train, val or test) of a random, disjoint partition.

  The partition depends only on the class names and the seed, not on the order of the examples.

  Args:
    data: all classes.
    split: train, val or test.
    shares: the fractions of classes for train, val and test; rounding errors go to test, but a split with a positive
      share gets `fewest` classes at least if there are enough.
    seed: seed of the partition.
    fewest: the least number of classes of a split; 1, or 2 for splits that classification tasks are drawn from.

  Raises:
    ValueError: for another split, or if the split would have no class.
  """
  check_split(split)
  if min(shares) < 0 or not np.isclose(sum(shares), 1):
    raise ValueError(f"the shares of train, val and test must be at least 0 and sum to 1, but they are {shares}.")
  order = np.random.default_rng(seed).permutation(len(data.names))
  by_name = np.argsort(np.asarray(data.names))
  sizes = np.diff(np.rint(np.cumsum((0.0, *shares)) * len(order)).astype(int))
  wanted = np.asarray(shares) > 0
  least = fewest if fewest * wanted.sum() <= len(order) else 1
  for short in np.flatnonzero(wanted):
    while sizes[short] < least < sizes.max():
      sizes[[np.argmax(sizes), short]] += [-1, 1]
  edges = np.cumsum([0, *sizes])
  index = SPLITS.index(split)
  chosen = sorted(by_name[order[edges[index]:edges[index + 1]]].tolist())
  if not chosen:
    raise ValueError(f"{len(data.names)} classes cannot be split by the shares {shares}: {split} would have none; "
                     "get more classes or give other shares.")
  return take_classes(data, chosen)


def check_split(split: str) -> None:
  """Raises ValueError unless `split` is train, val or test."""
  if split not in SPLITS:
    raise ValueError(f"the split must be one of {', '.join(SPLITS)}, not {split!r}.")


def check_disjoint(splits: Mapping[str, Sequence[str]], what: str) -> None:
  """Raises ValueError if two splits, given by the names of their classes, have a class in common."""
  split_of: dict[str, str] = {}
  for split, names in splits.items():
    for name in names:
      if split_of.setdefault(name, split) != split:
        raise ValueError(f"no class of {what} may be in two splits, but {name!r} is in {split_of[name]} and in {split};"
                         " remove it from one: a test on training classes does not measure generalisation to new ones.")
