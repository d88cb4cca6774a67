"""Statistics of a comparison: confidence intervals over seeds and over episodes, and paired differences.

`S` seeds, `E` test episodes; results are `[S, E]`, one value for each model on each episode. Results of two arms are
paired by seed and by episode. Uses only NumPy and SciPy, not JAX.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

_FAR = 100.0  # a loss above this multiple of the reference's 95th percentile has diverged


class Mean(NamedTuple):
  """A mean with half the width of its 95 % confidence interval."""
  mean: float
  interval: float  # NaN for a single value


class Summary(NamedTuple):
  """One arm's results on the test episodes."""
  over_seeds: Mean  # over seeds, of means over episodes: the variation between trainings
  over_episodes: Mean  # over episodes, of means over seeds: the variation between test episodes
  median: float  # over seeds and episodes, including diverged ones
  diverged: float  # fraction of (seed, episode) pairs


class Difference(NamedTuple):
  """The paired difference between an arm and the reference, on tasks that diverged in neither."""
  over_seeds: Mean
  p_value: float  # of the two-sided paired t-test over seeds; NaN if undefined
  over_episodes: Mean
  seeds: int  # the number of pairs


def diverged(losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """Returns `[S, E]`, whether a model diverged on a task.

  A loss has diverged if it is non-finite, or more than 100 times the 95th percentile of the reference's losses.

  Args:
    losses: `[S, E]`, the losses of an arm.
    reference: `[S, E]`, the losses of the reference arm.
  """
  finite = reference[np.isfinite(reference)]
  limit = _FAR * float(np.percentile(finite, 95)) if finite.size else np.inf
  with np.errstate(invalid="ignore"):
    return ~(np.isfinite(losses) & (losses <= max(limit, np.finfo(np.float32).tiny)))


def summary(values: np.ndarray, gone: np.ndarray) -> Summary:
  """Returns the summary of one arm.

  Args:
    values: `[S, E]`, a loss or a score.
    gone: `[S, E]`, whether a task has diverged; such tasks are left out of the means and counted separately.
  """
  kept = np.where(gone, np.nan, np.asarray(values, np.float64))
  ordered = np.where(np.isnan(values), np.inf, values)
  return Summary(over_seeds(_means(kept, axis=1)), over_episodes(_means(kept, axis=0)),
                 float(np.median(ordered)), float(np.mean(gone)))


def difference(values: np.ndarray, gone: np.ndarray, reference: np.ndarray, reference_gone: np.ndarray) -> Difference:
  """Returns the difference of an arm to the reference; all arguments are `[S, E]`, as in `summary`.

  Raises:
    ValueError: if the shapes differ, so that there are no pairs.
  """
  if np.shape(values) != np.shape(reference):
    raise ValueError(f"paired results must have one shape [seeds, episodes], but they are "
                     f"{list(np.shape(values))} and {list(np.shape(reference))}; use the same seeds and episodes.")
  gaps = np.where(gone | reference_gone, np.nan, np.asarray(values, np.float64) - np.asarray(reference, np.float64))
  by_seed = _means(gaps, axis=1)
  by_seed = by_seed[np.isfinite(by_seed)]
  return Difference(over_seeds(by_seed), p_value(by_seed), over_episodes(_means(gaps, axis=0)), len(by_seed))


def gains(counts: np.ndarray, plain: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
  """Returns the two measures of in-context learning of Wu et al., 2025, section 5.3.

  The first is the lowest error, relative to the lowest error of the plain learner. The second is how many more examples
  (fewer if negative) it takes to reach the plain learner's lowest error than the plain learner itself took; NaN if that
  error is never reached.

  Args:
    counts: `[n]`, increasing numbers of examples.
    plain, ours: `[n]`, the errors after `counts` examples.
  """
  lowest = float(np.min(plain))
  reached = np.flatnonzero(ours <= lowest)
  spared = float(counts[reached[0]] - counts[int(np.argmin(plain))]) if reached.size else float("nan")
  return float(np.min(ours) / lowest) if lowest > 0 else float("nan"), spared


def over_seeds(values: np.ndarray) -> Mean:
  """Returns the mean of a few independent values with its 95 % t interval; non-finite values are left out."""
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return Mean(float(values[0]) if len(values) else float("nan"), float("nan"))
  factor = float(stats.t.ppf(0.975, len(values) - 1))
  return Mean(float(values.mean()), factor * float(values.std(ddof=1)) / len(values) ** 0.5)


def over_episodes(values: np.ndarray) -> Mean:
  """Returns the mean of many independent values with 1.96 standard errors; non-finite values are left out."""
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return Mean(float(values[0]) if len(values) else float("nan"), float("nan"))
  return Mean(float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5)


def p_value(gaps: np.ndarray) -> float:
  """Returns the two-sided p-value of the t-test that paired differences `[S]` have mean zero.

  NaN for fewer than two differences; 1 if all are zero.
  """
  if len(gaps) < 2:
    return float("nan")
  if np.all(gaps == gaps[0]):  # zero variance: scipy would warn, and return 0 or NaN
    return 1.0 if gaps[0] == 0 else float("nan")
  return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def _means(values: np.ndarray, axis: int) -> np.ndarray:
  """Returns means that ignore NaN; NaN where all values are NaN."""
  count = np.sum(~np.isnan(values), axis=axis)
  return np.where(count > 0, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan)
