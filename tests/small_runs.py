"""A small complete recipe for tests of runs."""

import csv
from pathlib import Path
from typing import Any

from experiments.regression import sinusoid
from metajax.lab import run as runs
from metajax.lab.recipe import Recipe
from metajax.lab.recipe import Test as Lists
from metajax.lab.recipe import Training
from metajax.training.evaluation import Estimate


def build_sinusoid(*, conml: bool = True, pictures: bool = False, hidden: tuple[int, ...] = (4,), **training
                   ) -> Recipe:
  """Returns a sinusoid recipe with 8 steps, a row every 2 and a checkpoint every 4, or with other settings."""
  settings = {"steps": 8, "tasks_per_step": 8, "steps_per_row": 2, "steps_per_dispatch": 1, "rows_per_checkpoint": 2}
  config = sinusoid.Config(
      shots=3, queries=3, test_queries=5, hidden=hidden, conml=conml, test=Lists(episodes=6, val_episodes=4),
      training=Training(**{**settings, **training}))
  built = sinusoid.build(config)
  return built if pictures else built._replace(pictures=lambda params, key: {})


def stop_after(polls: int):
  """Returns a stop request that becomes true after a number of calls."""
  left = iter([False] * polls)
  return lambda: next(left, True)


def run(built: Recipe, workdir: Path, **options: Any) -> tuple[list[str], dict[str, Estimate]]:
  """Runs a recipe; returns its messages and results."""
  said: list[str] = []
  return said, runs.run(built, workdir, say=said.append, **options)


def rows(workdir: Path) -> list[dict[str, str]]:
  """Returns the metrics of a run."""
  with open(workdir / "metrics.csv", newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))
