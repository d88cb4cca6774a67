"""Shared by the recipes on in-context learning of functions: settings, the transformer, the figure of errors."""

from dataclasses import dataclass, field
import functools
from typing import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.in_context import references
from experiments.settings import (Contrast, Test, Training, check_at_least, choose, make_autoregressive, make_distance,
                                  make_optimizer)
from metajax import learners, losses
from metajax.examples import union
from metajax.lab.recipe import Models, Recipe
from metajax.lab.reports.figures import in_context_errors
from metajax.learners.in_context import read
from metajax.networks.transformer import SIZES, transformer
from metajax.objectives.views import random_subsets
from metajax.tasks import functions
from metajax.tasks.sampling import sample_tasks

Along = Mapping[str, Mapping[str, Mapping[int, float]]]  # errors by field, reference and value
_FEW = 200  # prompts for the references, which are fitted one at a time


@dataclass
class Config:
  """Garg et al.'s toy setting, with the small transformer."""
  seed: int = 0  # of initialisation and training tasks
  dimensions: int = 5  # of the inputs
  points: int = 11  # per prompt: the examples and the last query
  test_points: int = 0  # per test prompt, including the query; at most as many as in training; 0: as many
  size: str = "small"  # of the transformer: tiny, small or standard
  curriculum: bool = False  # whether dimensions and points grow during training, starting from a fifth and a quarter
  interval: int = 200  # steps per stage of the curriculum
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=lambda: Contrast(weight=0.02, distance="sigmoid_squared"))
  training: Training = field(default_factory=lambda: Training(
      steps=10_000, tasks_per_step=64, learning_rate=1e-4, steps_per_row=50, steps_per_dispatch=10))
  test: Test = field(default_factory=lambda: Test(episodes=1280))


def sweeps(config: Config) -> str:
  """Returns the further tests of a comparison: the error after each number of examples."""
  return "config.test_points=" + ",".join(str(points) for points in range(2, config.points + 1))


def along_references(config: Config, function: functions.FunctionClass, compared: tuple[references.Reference, ...]
                     ) -> Along:
  """Returns the error of references after each number of examples, on the first of the test prompts."""
  tasks = functions.function_tasks(function, dimensions=config.dimensions, points=config.points)
  places = jnp.arange(min(_FEW, config.test.episodes))
  prompts = jax.vmap(union)(*sample_tasks(tasks, tasks.data, jax.random.key(config.test.seed), places))
  inputs, targets = np.asarray(prompts.inputs), np.asarray(prompts.targets)[..., 0]
  curves = {reference.__name__.replace("_", " "): references.errors(reference, inputs, targets)
            for reference in compared}
  return {"test_points": {name: {seen + 1: float(error) for seen, error in enumerate(curve)}
                          for name, curve in curves.items()}}


def build(config: Config, name: str, function: functions.FunctionClass, compared: tuple[references.Reference, ...]
          ) -> Recipe:
  """Returns the recipe for one class of functions; its figure shows some references for comparison."""
  check_at_least(1, config, "dimensions", "interval")
  check_at_least(2, config, "points")
  test_points = config.test_points or config.points
  if not 2 <= test_points <= config.points:
    raise ValueError(f"config.test_points={config.test_points} must be 0, or 2 to config.points={config.points}.")
  layers, heads, width = choose("size", config.size, SIZES)
  # Two tokens per point, and one for the dummy input after the last.
  network = transformer(1, max_tokens=2 * config.points + 1, layers=layers, heads=heads, width=width)
  learner = learners.in_context(network)
  extent = functions.Extent(jnp.int32(-(-config.dimensions // 5)), jnp.int32(max(2, config.points // 4)))
  growth = functions.Curriculum(extent, functions.Extent(jnp.int32(1), jnp.int32(2)), config.interval)
  tasks = functions.function_tasks(function, dimensions=config.dimensions, points=config.points)
  along = functools.partial(read, network)

  def draw(params, key):
    prompts = jax.vmap(union)(*sample_tasks(tasks, tasks.data, key, jnp.arange(config.test.episodes)))
    predict = lambda prompt: along(params, prompt.inputs, prompt.targets, prompt.mask, prompt.inputs[:0])[0][:, 0]
    predicted = np.asarray(jax.jit(lambda prompts: jax.lax.map(predict, prompts, batch_size=64))(prompts))
    inputs, targets = np.asarray(prompts.inputs), np.asarray(prompts.targets)[..., 0]
    curves = {"transformer": np.mean((predicted - targets) ** 2, axis=0)}
    few = slice(0, _FEW)
    curves |= {reference.__name__: references.errors(reference, inputs[few], targets[few]) for reference in compared}
    return {"icl.png": in_context_errors(curves, f"In-context learning of {name}")}

  return Recipe(
      learner=learner, test_learner=learner,
      objective=make_autoregressive(config, along, losses.squared_error),
      optimizer=make_optimizer(config.training), loss=losses.squared_error, scores={},
      train_tasks=functions.function_tasks(function, dimensions=config.dimensions, points=config.points,
                                           curriculum=growth if config.curriculum else None),
      val_tasks=tasks,
      test_tasks=functions.function_tasks(function, dimensions=config.dimensions, points=test_points),
      training=config.training, test=config.test, seed=config.seed, pictures=draw,
      notes=f"In-context learning of {name} in {config.dimensions} dimensions, {config.size} transformer; loss is the "
            f"squared error after {test_points - 1} examples.",
      models=Models(tasks, random_subsets(10, max(1, config.points // 2)), make_distance(config.contrast)))
