"""Every task distribution in a small version, with its properties: the rows of the contract test."""

from typing import Callable, NamedTuple

import numpy as np

from metajax.tasks import augmentation, functions
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import class_tasks
from metajax.tasks.diverse import diverse
from metajax.tasks.groups import GroupData, group_tasks
from metajax.tasks.projected import projected
from metajax.tasks.ragged import ragged_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.tasks.task_augmentation import hardest_of, interpolated, noisy_labels, permuted_labels
from metajax.types import TaskDistribution

CLASSES, EXAMPLES = 6, 5


class Row(NamedTuple):
  """A task distribution and its properties."""
  make: Callable[[], TaskDistribution]
  disjoint: bool = True  # support and query share no example
  classes: int = 0  # maximum number of labels per task; 0 for real targets
  uniform: Callable[[np.ndarray], np.ndarray] | None = None  # from an input [...] to its class or group
  kinds: int = 0  # the number of these, all equally likely


def vectors() -> ClassData:
  """Six classes of five vectors, `[class, index]`."""
  rows = np.asarray([[number, index] for number in range(CLASSES) for index in range(EXAMPLES)], np.float32)
  return ClassData(rows, np.full(CLASSES, EXAMPLES, np.int32), tuple("abcdef"), "made up", tuple("gghhgh"))


def images() -> ClassData:
  """Six classes of five images, one pixel of which is class and index."""
  pixels = np.random.default_rng(0).uniform(size=(CLASSES * EXAMPLES, 8, 8, 1)).astype(np.float32)
  return ClassData(pixels, np.full(CLASSES, EXAMPLES, np.int32), tuple("abcdef"), "made up", ())


def rows() -> GroupData:
  """Three groups of six rows, `[group, index]`."""
  inputs = np.asarray([[group, index] for group in range(3) for index in range(6)], np.float32)
  return GroupData(inputs, 10 * inputs[:, 1:], np.full(3, 6, np.int32), ("a", "b", "c"), "made up")


def _classes(data=None, **options):
  return class_tasks(vectors() if data is None else data, ways=3, shots=2, queries=1, **options)


def _first(inputs):
  return inputs[..., 0].astype(int)


ROWS = {
    "sinusoids": Row(lambda: sinusoids(shots=4, queries=3)),
    "functions, linear": Row(lambda: functions.function_tasks(functions.linear, dimensions=3, points=5)),
    "functions, trees": Row(lambda: functions.function_tasks(functions.decision_tree(2), dimensions=3, points=5)),
    "classes": Row(_classes, classes=3, uniform=_first, kinds=CLASSES),
    "classes on the host": Row(lambda: _classes(on_host=True), classes=3, uniform=_first, kinds=CLASSES),
    "classes, turned": Row(lambda: _classes(images(), rotations=True), classes=3),
    "ragged": Row(lambda: ragged_tasks(vectors(), ways=(2, 3), shots=(1, 2), queries=1), classes=3, uniform=_first,
                  kinds=CLASSES),
    "groups": Row(lambda: group_tasks(rows(), shots=2, queries=3), uniform=_first, kinds=3),
    "augmented": Row(lambda: augmentation.augmented(_classes(images()), augmentation.crop(1), augmentation.flip),
                     classes=3),
    "permuted labels": Row(lambda: permuted_labels(_classes(), 3), classes=3, uniform=_first, kinds=CLASSES),
    "noisy labels": Row(lambda: noisy_labels(_classes(), 3, support=0.5), classes=3, uniform=_first, kinds=CLASSES),
    "interpolated": Row(lambda: interpolated(_classes(), stages=1), classes=3),
    "hardest": Row(lambda: hardest_of(_classes(), 3, lambda episode: episode.support.inputs.sum()), classes=3),
    "projected": Row(lambda: projected(_classes(), 4), classes=3, disjoint=False),
    "diverse": Row(lambda: diverse(_classes(), num_tasks=3, candidates=5), classes=3)}
