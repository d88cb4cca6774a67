"""A unit is alive if it is positive for some input of the tasks."""

import numpy as np

from benchmarks.live_units import alive


def test_units_are_counted_layer_by_layer():
  first = {"kernel": np.array([[1.0, -1.0, 0.0, 0.0]]), "bias": np.array([0.0, -6.0, -1.0, 1.0])}  # the third is dead
  second = {"kernel": np.array([[-1.0, 1.0], [0.0, 0.0], [5.0, 5.0], [-1.0, 0.0]]), "bias": np.array([0.5, -4.5])}
  params = {"Dense_0": first, "Dense_1": second, "Dense_2": {"kernel": np.ones((2, 1)), "bias": np.zeros(1)}}
  found = alive(params, np.linspace(-5, 5, 11)[:, None])
  assert [list(layer) for layer in found] == [[True, False, False, True], [False, True]]
