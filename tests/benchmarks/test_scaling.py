"""Layouts are compared with one device of the same precision, and the tables list the differences."""

import json

import numpy as np
import pytest

from benchmarks import scaling
from benchmarks.layout import CASES, METRICS, STEPS
from benchmarks.scaling import Layout


def _measured(error, first=0.0):
  steps = np.full(STEPS, 2.0)
  steps[0] += 2 * first
  steps[7] -= 2 * error
  about = {"flops": 5e6, "collectives": {"all-reduce": 1500}, "memory_bytes": 2**20, "parameters": 3, "seconds": 0.004}
  return {**{name: steps for name in METRICS}, "gradient": np.array([3.0, 4.0 + 5 * first]),
          "parameters": np.array([3.0 + 5 * error, 4.0]), "about": np.asarray(json.dumps(about))}


def test_differences_are_relative_to_one_device_of_the_same_precision(tmp_path):
  layouts = {Layout(1, 1): _measured(0.0), Layout(2, 4): _measured(1e-3, 1e-5),
             Layout(1, 1, precision="float64"): _measured(0.5), Layout(1, 8, precision="float64"): _measured(0.5),
             Layout(1, 8, "pmap", precision="bfloat16"): _measured(0.0)}  # no layout to compare with
  rows = scaling.rows({(layout, case): measured for case in CASES for layout, measured in layouts.items()})
  assert len(rows) == 4 * len(CASES)
  alone, several, *_, wide = rows[:4]
  assert set(alone["differences"].values()) == set(wide["differences"].values()) == {0.0}
  assert several["differences"] == pytest.approx({
      **{name: 1e-5 for name in (*METRICS, "gradient")}, **{f"{name}, {STEPS} steps": 1e-3 for name in METRICS},
      "parameters": 1e-3}, rel=1e-6)
  page = tmp_path / "page.md"
  page.write_text("<!-- table: python -m benchmarks.scaling -->\n<!-- end of table -->\n", encoding="utf-8")
  scaling.write({"command": "c", "machine": "m", "versions": {"jax": "1", "flax": "2"}, "rows": rows}, page)
  text = page.read_text(encoding="utf-8")
  assert "| maml | 2 processes of 4 | 1e-05 | 1e-05 | 1e-05 | 1e-05 | 1e-03 | 1e-03 | 1e-03 | 1e-03 |" in text
  assert "| maml | 2 processes of 4 | 5.0 | all-reduce 1.5 | 1.0 | 4.0 |" in text
  assert text.count("float64") == 2 * len(CASES)


def test_layouts_have_names_of_their_own():
  assert len({layout.name for layout in scaling._LAYOUTS}) == len(scaling._LAYOUTS)
  assert Layout(1, 8, "pmap").name == "1x8-pmap" and Layout(2, 4, precision="float64").name == "2x4-float64"
