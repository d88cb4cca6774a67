"""Early stopping: training ends after a number of validations without a new best."""

import math
from pathlib import Path
from typing import Mapping

from metajax.lab.recipe import Training
from metajax.lab.reports.writers import read_csv


class Patience:
  """Counts validations without a new best of one metric; a resumed run counts on from its metrics.csv."""

  def __init__(self, allowed: int, metric: str):
    """`allowed` validations without a new best, 0 for any number; `metric` as in `Training.keep_best`."""
    self._allowed, self._metric = allowed, metric.removeprefix("-")
    self._sign = -1.0 if metric.startswith("-") else 1.0
    self._best, self._without = -math.inf, 0

  @classmethod
  def of(cls, training: Training, metrics: Path, step: int) -> "Patience":
    """Returns the patience of a run that resumes after a step, given the metrics written so far."""
    patience = cls(training.patience, training.keep_best)
    if not training.patience or not step or not metrics.exists():
      return patience
    columns = read_csv(metrics)
    period = training.rows_per_checkpoint * training.steps_per_row
    validated = (columns["step"] <= step) & (columns["step"] % period == 0)
    for value in columns[patience._metric][validated] if patience._metric in columns else ():
      patience.over_after({patience._metric: float(value)})
    return patience

  def over_after(self, values: Mapping[str, float]) -> bool:
    """Counts one validation; returns whether training is to stop."""
    value = self._sign * values.get(self._metric, math.nan)
    better = value > self._best  # false for NaN
    self._best, self._without = (value, 0) if better else (self._best, self._without + 1)
    return self.over()

  def over(self) -> bool:
    """Returns whether training is to stop."""
    return 0 < self._allowed <= self._without

  def __str__(self) -> str:
    return f"no better {self._metric} than {self._sign * self._best:.4g} in {self._without} validations"
