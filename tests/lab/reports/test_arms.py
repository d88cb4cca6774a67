"""Figures and reports of comparisons."""

import numpy as np
import pytest

from metajax.lab.reports import arms, comparison
from tests.lab.reports.test_page import read

_RANDOM = np.random.default_rng(0)


def test_differences():
  figure = arms.differences({"in": (0.5, 0.1, np.array([0.4, 0.6])), "out": (np.nan, np.nan, np.array([np.nan, 1]))},
                            "none", "loss")
  axes = figure.axes[0]
  assert [label.get_text() for label in axes.get_yticklabels()] == ["in", "out"]
  assert "none" in axes.get_title("left") and axes.yaxis_inverted()
  np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.4, 0.6])


def test_distributions():
  wide = {"d_in": np.geomspace(1e-6, 1, 100), "d_out": np.linspace(1, 2, 50)}
  figure = arms.distributions({"none": wide, "both": {"d_in": np.full(3, np.nan), "d_out": np.ones((2, 2))}})
  assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear"]
  assert [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes] == [
      ["none"], ["none", "both"]]
  with pytest.raises(ValueError, match="no positive"):
    arms.distributions({"none": {"d_in": np.zeros(3), "d_out": np.ones(3)}})


def test_sweep():
  curve = (np.array([1.0, 2.0, 100.0]), np.array([0.1, np.nan, 0.2]))
  gap = (np.array([-1.0, 0.0, np.nan]), np.array([0.1, np.nan, np.nan]))
  figure = arms.sweep([1, 2, 5], {"none": curve, "both": curve}, {"both": gap}, "none", "shots", "loss",
                      {"least squares": np.array([1, 1e-30, np.nan])}, {"both": curve[0] / 2})
  left, right = figure.axes
  assert left.get_yscale() == "log" and left.get_ylim()[0] > 0.1 and right.get_yscale() == "linear"
  named = [line.get_label() for line in left.lines if not line.get_label().startswith("_")]
  assert named == ["none", "both", "least squares"]
  np.testing.assert_array_equal(left.lines[1].get_xdata(), [1, 2, 5])
  median, = (line for line in left.lines if line.get_label().startswith("_"))
  assert median.get_color() == left.lines[1].get_color() and median.get_ydata()[2] == 50
  assert right.lines[0].get_label() == "both" and right.lines[0].get_color() == left.lines[1].get_color()
  np.testing.assert_array_equal(right.lines[0].get_ydata(), gap[0])
  words = arms.sweep(["a", "b", "c"], {"none": curve}, {}, "none", "kind", "loss").axes[0]
  assert [label.get_text() for label in words.get_xticklabels()] == ["a", "b", "c"]
  with pytest.raises(ValueError, match="3 values"):
    arms.sweep([1, 2, 5], {"none": (np.ones(3), np.ones(2))}, {}, "none", "shots", "loss")


def test_trainings():
  step = np.array([1, 2])
  metrics = {"none": {"step": step, "loss": np.array([[1.0, 3, 5], [2, np.nan, np.nan]])},
             "both": {"step": step, "loss": np.ones((2, 3)), "d_in": np.ones((2, 3))}}
  figure = arms.trainings(metrics, {"loss": "loss", "d_in": "within", "d_out": "between"})
  assert [axes.get_title("left") for axes in figure.axes] == ["loss", "within"]
  np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [3, 2])
  assert len(figure.axes[1].lines) == 1
  with pytest.raises(ValueError, match="no arm"):
    arms.trainings(metrics, {"d_out": "between"})


def results(measure="loss", mean=-0.1, p=0.001, others=1):
  """The results of a reference and some identical arms."""
  test = {"over_seeds": {"mean": 1.0, "interval": 0.1}, "over_episodes": {"mean": 1.0, "interval": 0.2},
          "median": 0.9, "diverged": 0.25, "by_seed": [0.9, 1.1]}
  gap = {"over_seeds": {"mean": mean, "interval": 0.05}, "p_value": p,
         "over_episodes": {"mean": mean, "interval": 0.04}, "seeds": 2}
  costs = {"step_ms": 2.0, "step_ratio": 1.5, "memory_mib": 3.0, "memory_ratio": 2.0, "diverged_trainings": 0,
           "models": {}}
  arm = lambda own: {"test": {"loss": own, measure: own}, **costs}
  return {"reference": "none", "notes": "Notes.", "seeds": [0, 1], "steps": 5, "sweeps": {},
          "arms": {"none": arm(test), **{f"arm{i}": arm({**test, "difference": gap}) for i in range(others)}}}


def test_a_report_of_little():
  measured = {"training/step": np.array([1]), "training/episodic_loss": np.ones((1, 2))}
  drawn = comparison.pictures(results(), {"none": measured, "arm0": measured})
  assert list(drawn) == ["differences", "training"]
  found = read(comparison.report(results(), drawn))
  assert "arm0 against none: better" in found.text and "25 %" in found.text and "1.00 ± 0.10" in found.text
  assert "Models of unseen tasks" not in found.text and len(found.sources) == 2


def test_a_sweep_counts_the_seeds_that_gain():
  found = results()
  curve = lambda *seeds: [{"loss": {"by_seed": seed, "median": 1.0, "diverged": 0.0,
                                    "over_seeds": {"mean": 1.0, "interval": 0.1},
                                    "difference": {"over_seeds": {"mean": 0.0, "interval": 0.1}}}} for seed in seeds]
  found["sweeps"] = {"test_points": {
      "values": [1, 2], "references": {}, "arms": {"none": curve([3, 3], [2, 2]), "arm0": curve([3, 3], [1, None])},
      "gains": {"arm0": {"relative_minimum": {"mean": 0.5, "interval": None},
                         "spared": {"mean": 0.0, "interval": None}}}}}
  measured = {"training/step": np.array([1]), "training/episodic_loss": np.ones((1, 2))}
  caption = comparison.pictures(found, {"none": measured, "arm0": measured})["sweep_test_points"][1]
  assert "arm0: lowest loss 0.5 times that of none, which 1 of 2 seeds reach at a test_points +0" in caption


def test_columns():
  assert comparison.columns([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc  d"
