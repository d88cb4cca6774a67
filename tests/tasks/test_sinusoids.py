"""Sinusoids: in the ranges of the paper, with one amplitude and one phase per task."""

import jax
import numpy as np
import pytest

from metajax.tasks.sinusoids import sinusoids

TASKS = 2000


def sample(tasks, num_tasks=TASKS, seed=0):
  episodes = jax.jit(jax.vmap(tasks.sample, in_axes=(None, 0)))(tasks.data, jax.random.split(jax.random.key(seed),
                                                                                           num_tasks))
  return jax.tree.map(np.asarray, episodes)


def recovered(episodes):
  """Returns amplitudes, phases and the largest residual of a joint fit to support and query of each task."""
  inputs, targets = (np.concatenate(parts, axis=1)[..., 0].astype(np.float64) for parts in
                     ((episodes.support.inputs, episodes.query.inputs), (episodes.support.targets,
                                                                         episodes.query.targets)))
  amplitudes, phases, residual = [], [], 0.0
  for x, y in zip(inputs, targets):
    basis = np.stack([np.sin(x), np.cos(x)], axis=1)
    solution = np.linalg.lstsq(basis, y)[0]
    residual = max(residual, np.abs(basis @ solution - y).max())
    amplitudes.append(np.hypot(*solution))
    phases.append(np.arctan2(-solution[1], solution[0]))  # A sin(x - p) = A cos(p) sin(x) - A sin(p) cos(x)
  return np.asarray(amplitudes), np.asarray(phases), residual


@pytest.fixture(scope="module")
def episodes():
  return sample(sinusoids(5, 10))


def test_shapes(episodes):
  assert episodes.support.inputs.shape == episodes.support.targets.shape == (TASKS, 5, 1)
  assert episodes.query.inputs.shape == episodes.query.targets.shape == (TASKS, 10, 1)
  assert episodes.support.mask.all() and episodes.query.mask.all() and episodes.query.mask.shape == (TASKS, 10)
  assert {leaf.dtype for part in episodes for leaf in part[:2]} == {np.dtype(np.float32)}


def uniform(values, low, high):
  """Whether values are uniform in a range (Kolmogorov-Smirnov distance below 2 / sqrt(n))."""
  ranks = (np.arange(values.size) + 0.5) / values.size
  gap = np.abs((np.sort(values) - low) / (high - low) - ranks).max()
  return values.min() >= low - 1e-3 and values.max() <= high + 1e-3 and gap < 2 / np.sqrt(values.size)


def test_support_and_query_lie_on_one_curve_drawn_as_the_paper_says(episodes):
  amplitudes, phases, residual = recovered(episodes)
  assert residual < 1e-4
  assert uniform(amplitudes, 0.1, 5.0) and uniform(phases, 0.0, np.pi)
  assert abs(np.corrcoef(amplitudes, phases)[0, 1]) < 0.1  # sampled separately


def test_inputs_fill_their_span_and_none_is_seen_twice(episodes):
  inputs = np.concatenate([episodes.support.inputs, episodes.query.inputs], axis=1)[..., 0]
  assert uniform(inputs[:, 0], -5.0, 5.0) and uniform(inputs[:, 14], -5.0, 5.0)
  assert all(len(set(row)) == 15 for row in inputs)
  assert abs(np.corrcoef(inputs[:, 0], recovered(episodes)[0])[0, 1]) < 0.1


def test_ranges_may_be_others():
  episodes = sample(sinusoids(20, 1, amplitude=(2.0, 3.0), phase=(0.5, 0.6), span=(1.0, 7.0)), 300)
  amplitudes, phases, _ = recovered(episodes)
  assert uniform(amplitudes, 2.0, 3.0) and uniform(phases, 0.5, 0.6)
  assert uniform(episodes.support.inputs[:, 0, 0], 1.0, 7.0)


def test_a_key_stands_for_one_task(episodes):
  tasks = sinusoids(5, 10)
  np.testing.assert_array_equal(sample(tasks).query.targets, episodes.query.targets)
  assert not (sample(tasks, seed=1).query.targets == episodes.query.targets).all(axis=(1, 2)).any()


@pytest.mark.parametrize("arguments, settings, sentence", [
  ((0, 5), {}, "got 0 and 5"), ((5, 0), {}, "got 5 and 0"),
  ((5, 5), {"amplitude": (2.0, 1.0)}, r"range of amplitude .* \[2.0, 1.0\]"),
  ((5, 5), {"phase": (1.0, 0.0)}, "range of phase"), ((5, 5), {"span": (5.0, -5.0)}, "range of span")])
def test_impossible_tasks_are_refused_in_a_sentence(arguments, settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    sinusoids(*arguments, **settings)
