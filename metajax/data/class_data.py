"""Labelled examples on the host, grouped by class: what every reader of a data set returns."""

from typing import NamedTuple

import numpy as np


class ClassData(NamedTuple):
  """A labelled data set, its examples sorted by class.

  The class with number `c` owns the rows `[counts[:c].sum(), counts[:c + 1].sum())` of `examples`.
  """
  examples: np.ndarray  # [n, ...] uint8 or float32
  counts: np.ndarray  # [classes] int32, at least 1 each
  names: tuple[str, ...]  # one a class
  source: str  # a sentence: where it was read from, for logs and results
