"""What the recipes on in-context learning of functions share: settings, the transformer, the figure of errors."""

from dataclasses import dataclass, field
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import references
from experiments.settings import Test, Training, check_at_least, choose
from metajax import learners, losses, objectives
from metajax.data import functions
from metajax.data.sampling import sample_tasks
from metajax.examples import union
from metajax.learners.in_context import read
from metajax.networks.transformer import SIZES, transformer
from metajax.recipe import Recipe
from metajax.reports.figures import in_context_errors
from metajax.sharding import TASKS


@dataclass
class Config:
  """Garg et al.'s toy setting, with the small transformer."""
  seed: int = 0  # of initialisation and training tasks
  dimensions: int = 5  # of the inputs
  points: int = 11  # of a prompt: the examples and the last query
  size: str = "small"  # of the transformer: tiny, small or standard
  curriculum: bool = False  # whether dimensions and points grow during training, from a fifth and a quarter
  interval: int = 200  # steps between two stages of the curriculum
  conml: bool = True  # whether the contrastive term is on
  weight: float = 0.02  # lambda, of the contrastive term
  training: Training = field(default_factory=lambda: Training(
      steps=10_000, tasks_per_step=64, learning_rate=1e-4, steps_per_row=50, steps_per_dispatch=10))
  test: Test = field(default_factory=lambda: Test(episodes=1280))


def build(config: Config, name: str, function: functions.FunctionClass, compared: tuple[references.Reference, ...]
          ) -> Recipe:
  """Returns the recipe for one class of functions, whose figure compares with some references."""
  check_at_least(1, config, "dimensions", "interval", "training.steps", "training.tasks_per_step",
                 "training.steps_per_row", "training.steps_per_dispatch", "training.rows_per_checkpoint")
  check_at_least(2, config, "points", "test.episodes", "test.val_episodes")
  layers, heads, width = choose("size", config.size, SIZES)
  # Two tokens a point, and one for the dummy input after the last.
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
    few = slice(0, 200)  # the references are fitted one by one
    curves |= {reference.__name__: references.errors(reference, inputs[few], targets[few]) for reference in compared}
    return {"icl.png": in_context_errors(curves, f"In-context learning of {name}")}

  return Recipe(
      learner=learner, test_learner=learner,
      objective=objectives.autoregressive(along, losses.squared_error, weight=config.weight if config.conml else 0.0,
                                          axis_name=TASKS),
      optimizer=optax.adam(config.training.learning_rate), loss=losses.squared_error, scores={},
      train_tasks=functions.function_tasks(function, dimensions=config.dimensions, points=config.points,
                                           curriculum=growth if config.curriculum else None),
      val_tasks=tasks, test_tasks=tasks, training=config.training, test=config.test, seed=config.seed, pictures=draw,
      notes=f"In-context learning of {name} in {config.dimensions} dimensions, {config.size} transformer; loss is the "
            f"squared error after {config.points - 1} examples.")
