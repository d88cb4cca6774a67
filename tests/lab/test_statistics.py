"""Intervals, paired differences and diverged tasks, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from metajax.lab.statistics import difference, diverged, gains, over_episodes, over_seeds, p_value, summary

_RANDOM = np.random.default_rng(0)
_NONE = np.zeros((4, 50), bool)


def test_intervals():
  values = _RANDOM.normal(size=6)
  low, high = stats.t.interval(0.95, 5, loc=values.mean(), scale=stats.sem(values))
  np.testing.assert_allclose(over_seeds(values), [(low + high) / 2, (high - low) / 2])
  np.testing.assert_allclose(over_seeds([*values, np.nan, np.inf]), over_seeds(values))
  many = _RANDOM.normal(size=500)
  np.testing.assert_allclose(over_episodes(many), [many.mean(), 1.96 * stats.sem(many)])
  assert over_seeds([2.0])[0] == 2.0 and np.isnan(over_seeds([2.0])[1]) and np.isnan(over_seeds([])[0])


def test_differences_are_in_pairs():
  # Seeds and episodes vary a lot, arms only a little: only paired differences show it.
  common = 10 * _RANDOM.normal(size=(4, 1)) + _RANDOM.normal(size=(4, 50)) * 5
  plain, ours = common, common - 0.1 + 0.01 * _RANDOM.normal(size=(4, 50))
  found = difference(ours, _NONE, plain, _NONE)
  assert found.over_seeds.mean == pytest.approx(-0.1, abs=0.01) and found.over_seeds.interval < 0.01
  assert found.over_episodes.interval < 0.01 and found.seeds == 4
  assert found.p_value == pytest.approx(stats.ttest_rel(ours.mean(1), plain.mean(1)).pvalue)
  assert found.p_value < 1e-4 < stats.ttest_ind(ours.mean(1), plain.mean(1)).pvalue
  with pytest.raises(ValueError, match="one shape"):
    difference(ours, _NONE, plain[:, :-1], _NONE[:, :-1])


def test_diverged_tasks_are_counted_and_left_out_of_both_arms():
  plain = np.abs(_RANDOM.normal(size=(4, 50)))
  ours = plain.copy()
  ours[0, 0], ours[1, 1], ours[2, 2], ours[3] = np.nan, np.inf, 1e6, np.nan
  gone = diverged(ours, plain)
  assert gone.sum() == 53 and not diverged(plain, plain).any()
  found = summary(ours, gone)
  assert found.diverged == 53 / 200
  np.testing.assert_allclose(found.over_seeds.mean, np.mean([np.delete(plain[s], s).mean() for s in range(3)]))
  assert found.median == pytest.approx(np.median(np.where(gone, np.inf, plain)))
  gap = difference(ours, gone, plain, diverged(plain, plain))
  assert gap.over_seeds.mean == 0 and gap.seeds == 3 and gap.p_value == 1.0
  nothing = difference(np.full((4, 50), np.nan), ~_NONE, plain, _NONE)
  assert nothing.seeds == 0 and np.isnan(nothing.over_seeds.mean) and np.isnan(nothing.p_value)


def test_a_reference_that_diverged_has_no_limit():
  assert not diverged(np.full((1, 3), 1e9), np.full((1, 3), np.nan)).any()


@pytest.mark.parametrize("gaps, p", [([], np.nan), ([1.0], np.nan), ([0.0, 0.0], 1.0), ([1.0, 1.0], np.nan)])
def test_undefined_p_values(gaps, p):
  np.testing.assert_equal(p_value(np.array(gaps)), p)


def test_gains_in_context():
  counts = np.array([1, 2, 4, 8])
  assert gains(counts, np.array([4, 2, 1, 0.5]), np.array([4, 0.5, 0.25, 0.3])) == (0.5, -6.0)
  ratio, spared = gains(counts, np.array([4, 2, 1, 0.5]), np.array([4, 3, 2, 1]))
  assert ratio == 2.0 and np.isnan(spared)
