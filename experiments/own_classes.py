"""Few-shot tasks on a user's own classes: unequal and few, so the settings follow from what there is, and it is said.

Classes too small for a query are left out, other small classes have fewer queries (`class_tasks(..., unequal=True)`),
and ways that nobody chose become as many as there are classes. What was chosen and is impossible is refused at once.
"""

from dataclasses import replace
import sys
from typing import Any, Mapping, NamedTuple

import numpy as np

from metajax.tasks.class_data import SPLITS, ClassData, take_classes
from metajax.training.hosts import is_writer

_KINDS = ("folder", "npz", "tfds")


class Fitted(NamedTuple):
  """Settings and data that fit each other."""
  config: Any
  splits: Mapping[str, ClassData]
  said: str  # what was fitted, with a blank before it, for the notes; empty if all fits


def is_own(data: str) -> bool:
  """Returns whether `config.data` names a user's classes rather than a benchmark, whose tasks are never fitted."""
  kind, _, place = data.partition(":")
  return kind in _KINDS and bool(place)


def fit(config: Any, default: Any, splits: Mapping[str, ClassData], any_ways: bool) -> Fitted:
  """Returns settings and classes that make tasks of every split possible, and says what is not as it was.

  Args:
    config: settings with `data`, `ways`, `train_ways`, `shots`, `train_queries` and `test_queries`.
    default: the same with defaults; only ways that are equal to these are fitted.
    splits: the classes of train, val and test.
    any_ways: whether the learner may have more ways in training than in the test.

  Raises:
    ValueError: if tasks are impossible; one sentence names all fields to change.
  """
  fewest = {split: config.shots + 1 for split in SPLITS}
  fewest["train"] = (getattr(config, "min_shots", 0) or config.shots) + 1
  kept = {split: np.flatnonzero(splits[split].counts >= fewest[split]) for split in SPLITS}
  there = {split: len(kept[split]) for split in SPLITS}
  if min(there.values()) < 2:
    raise ValueError(_too_few(config, splits))
  refused: list[str] = []
  changes: dict[str, int] = {}

  def at_most(field: str, most: int) -> int:
    given = getattr(config, field)
    if given <= most:
      return given
    if given == getattr(default, field):
      changes[field] = most
    else:
      refused.append(f"config.{field}={most} or less instead of {given}")
    return most

  ways = at_most("ways", min(there[split] for split in (SPLITS[1:] if any_ways else SPLITS)))
  train_ways = at_most("train_ways", there["train"])
  if not train_ways and ways > there["train"]:
    train_ways = changes["train_ways"] = there["train"]
  if getattr(config, "min_ways", 0) > (train_ways or ways):
    refused.append(f"config.min_ways={train_ways or ways} or less instead of {config.min_ways}")
  if refused:
    raise ValueError(f"config.data={config.data!r} has {_counts(there)} classes with more than {config.shots} "
                     f"example(s), too few for these tasks; give {', '.join(refused)}.")
  data = {split: take_classes(splits[split], kept[split].tolist()) if there[split] < len(splits[split].counts)
          else splits[split] for split in SPLITS}
  said = [f"config.{field} is {value} instead of {getattr(config, field)}, as there are {_counts(there)} classes"
          for field, value in changes.items()]
  lost = {split: len(splits[split].counts) - there[split] for split in SPLITS}
  if any(lost.values()):
    said.append(f"{_counts(lost)} classes are left out, which have no example for a query besides the support")
  wanted = {split: config.shots + (config.train_queries if split == "train" else config.test_queries)
            for split in SPLITS}
  small = {split: int((data[split].counts < wanted[split]).sum()) for split in SPLITS}
  if any(small.values()):
    said.append(f"{_counts(small)} classes have fewer queries than asked for, because they are small")
  largest = {split: int(data[split].counts.max()) for split in SPLITS}
  changes["train_queries"] = min(config.train_queries, largest["train"] - fewest["train"] + 1)
  changes["test_queries"] = min(config.test_queries, max(largest["val"], largest["test"]) - config.shots)
  sentence = f"Fitted to the data: {'; '.join(said)}." if said else ""
  if sentence and is_writer():
    print(sentence, file=sys.stderr)
  return Fitted(replace(config, **changes), data, sentence and f" {sentence}")


def _too_few(config: Any, splits: Mapping[str, ClassData]) -> str:
  counts = {split: len(data.counts) for split, data in splits.items()}
  shots = min(int(np.sort(data.counts)[-2]) - 1 if len(data.counts) > 1 else 0 for data in splits.values())
  remedy = (f"give config.shots={shots} or less" if shots > 0 else
            "add classes, 6 or more in all unless the splits are your own, or examples to them")
  return (f"config.data={config.data!r} must have 2 classes with more than config.shots={config.shots} example(s) in "
          f"each split, but of {_counts(counts)} classes some split has fewer; {remedy}.")


def _counts(numbers: Mapping[str, int]) -> str:
  return ", ".join(f"{numbers[split]} {split}" for split in SPLITS)
