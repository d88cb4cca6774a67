"""What a comparison of two ways of training can say: intervals over seeds and over episodes, differences in pairs.

`S` seeds, `E` test episodes; results are `[S, E]`, one number for each model on each episode. Models of two arms that
share a seed, and all models on the same episode, are pairs. NumPy and scipy alone; no JAX.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

_FAR = 100.0  # times the 95th percentile of the reference: a task whose loss is further off has diverged


class Mean(NamedTuple):
  """A mean with half the width of its 95 % interval."""
  mean: float
  interval: float  # NaN where there is one number only


class Summary(NamedTuple):
  """One arm's results on the test episodes."""
  over_seeds: Mean  # of the mean over episodes: what another training would give
  over_episodes: Mean  # of the mean over seeds: what other test episodes would give
  median: float  # over seeds and episodes, diverged ones among them
  diverged: float  # share of seeds times episodes


class Difference(NamedTuple):
  """An arm less the reference, in pairs, on tasks that diverged in neither."""
  over_seeds: Mean
  p_value: float  # of the paired t-test over seeds, two-sided; NaN where it cannot be had
  over_episodes: Mean
  seeds: int  # how many pairs there were


def diverged(losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """Returns `[S, E]`, whether a model came to nothing on a task.

  A loss counts as diverged if it is not finite or more than 100 times the 95th percentile of the reference's.

  Args:
    losses: `[S, E]` of an arm.
    reference: `[S, E]` of the arm that it is compared with.
  """
  finite = reference[np.isfinite(reference)]
  limit = _FAR * float(np.percentile(finite, 95)) if finite.size else np.inf
  with np.errstate(invalid="ignore"):
    return ~(np.isfinite(losses) & (losses <= max(limit, np.finfo(np.float32).tiny)))


def summary(values: np.ndarray, gone: np.ndarray) -> Summary:
  """Returns what there is to say of one arm.

  Args:
    values: `[S, E]`, a loss or a score.
    gone: `[S, E]`, whether a task has diverged; it is left out of the means and counted apart.
  """
  kept = np.where(gone, np.nan, np.asarray(values, np.float64))
  ordered = np.where(np.isnan(values), np.inf, values)
  return Summary(over_seeds(_means(kept, axis=1)), over_episodes(_means(kept, axis=0)),
                 float(np.median(ordered)), float(np.mean(gone)))


def difference(values: np.ndarray, gone: np.ndarray, reference: np.ndarray, reference_gone: np.ndarray) -> Difference:
  """Returns what there is to say of an arm beside the reference; all arguments `[S, E]`, as in `summary`.

  Raises:
    ValueError: if the shapes differ, for then there are no pairs.
  """
  if np.shape(values) != np.shape(reference):
    raise ValueError(f"results that are compared in pairs need one shape [seeds, episodes], but they are "
                     f"{list(np.shape(values))} and {list(np.shape(reference))}.")
  gaps = np.where(gone | reference_gone, np.nan, np.asarray(values, np.float64) - np.asarray(reference, np.float64))
  of_seeds = _means(gaps, axis=1)
  of_seeds = of_seeds[np.isfinite(of_seeds)]
  return Difference(over_seeds(of_seeds), p_value(of_seeds), over_episodes(_means(gaps, axis=0)), len(of_seeds))


def gains(counts: np.ndarray, plain: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
  """Returns the two measures of in-context learning of Wu et al., 2025, section 5.3.

  The lowest error relative to the plain learner's lowest; and how many examples more (fewer if negative) it takes to
  reach the plain learner's lowest than that one took, NaN if it never gets there.

  Args:
    counts: `[n]`, rising numbers of examples.
    plain, ours: `[n]`, the errors after so many.
  """
  lowest = float(np.min(plain))
  there = np.flatnonzero(ours <= lowest)
  spared = float(counts[there[0]] - counts[int(np.argmin(plain))]) if there.size else float("nan")
  return float(np.min(ours) / lowest) if lowest > 0 else float("nan"), spared


def over_seeds(values: np.ndarray) -> Mean:
  """Returns the mean of a few independent numbers, with Student's 95 % interval; those not finite are left out."""
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return Mean(float(values[0]) if len(values) else float("nan"), float("nan"))
  factor = float(stats.t.ppf(0.975, len(values) - 1))
  return Mean(float(values.mean()), factor * float(values.std(ddof=1)) / len(values) ** 0.5)


def over_episodes(values: np.ndarray) -> Mean:
  """Returns the mean of many independent numbers, with 1.96 standard errors; those not finite are left out."""
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  if len(values) < 2:
    return Mean(float(values[0]) if len(values) else float("nan"), float("nan"))
  return Mean(float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5)


def p_value(gaps: np.ndarray) -> float:
  """Returns the two-sided p-value of Student's test that paired differences `[S]` have mean zero.

  NaN with fewer than two; 1 where all are zero.
  """
  if len(gaps) < 2:
    return float("nan")
  if np.all(gaps == gaps[0]):  # no spread: scipy would warn, and say 0 or NaN
    return 1.0 if gaps[0] == 0 else float("nan")
  return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def _means(values: np.ndarray, axis: int) -> np.ndarray:
  """Returns means that leave NaN out; NaN where there is nothing else."""
  count = np.sum(~np.isnan(values), axis=axis)
  return np.where(count > 0, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan)
