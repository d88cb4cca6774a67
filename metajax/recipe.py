"""A recipe: all that a run needs to know, checked before anything is compiled or written."""

from dataclasses import dataclass
from typing import Callable, Mapping, NamedTuple

import jax
from matplotlib.figure import Figure
import optax

from metajax.data.pipeline import Reading, read_shapes
from metajax.distances import Distance
from metajax.faults import guard
from metajax.objectives.views import Views
from metajax.sharding import Mapping as DeviceMapping
from metajax.sharding import over_tasks, over_tasks_by_pmap, task_mesh, usable_devices
from metajax.training import init_state, make_advance
from metajax.types import Learner, Objective, Params, PerExample, PerSet, PRNGKey, TaskDistribution


@dataclass
class Training:
  """The outer loop."""
  steps: int = 1000  # meta-steps in all
  tasks_per_step: int = 32  # tasks in a meta-batch, over all devices
  learning_rate: float = 1e-3  # of Adam, the outer optimizer
  steps_per_row: int = 50  # steps in one row of metrics.csv
  steps_per_dispatch: int = 50  # steps in one dispatch to the device; 1 where convolutions must not be in a loop
  rows_per_checkpoint: int = 10  # rows between two checkpoints, and between two looks at the validation tasks
  task_chunk: int = 0  # tasks mapped at a time; 0: all at once; -1: as the machine wants it
  pmap: bool = False  # map tasks over devices with jax.pmap in the place of jax.shard_map
  spread_state: bool = False  # let the devices share parameters and optimizer state: for big networks
  clip_gradient: float = 0.0  # the largest norm of the gradient; 0: not clipped
  skip_nonfinite: int = 0  # updates in a row that may be skipped where the gradient is not finite; 0: the run stops
  keep_newest: int = 2  # checkpoints
  keep_every: int = 0  # checkpoints of every so many steps are kept, too; 0: none
  keep_best: str = ""  # and the best by a metric: val_accuracy, for the greatest, or -val_loss, for the smallest


@dataclass
class Test:
  """The frozen lists of episodes."""
  episodes: int = 600  # test episodes
  val_episodes: int = 100  # episodes of each look at the validation tasks during training
  seed: int = 0  # of the test list, apart from the training seed: all runs meet the same episodes


class Models(NamedTuple):
  """What to look at where models of unseen tasks are compared: alignment, discrimination, clusters."""
  tasks: TaskDistribution  # support and query together are a whole task
  views: Views  # the subsets of it
  distance: Distance  # phi


class Recipe(NamedTuple):
  """Everything a run needs to know."""
  learner: Learner  # the one that is trained
  test_learner: Learner  # the one that is tested: the same, or with another number of inner steps
  objective: Objective  # its axis_name is sharding.TASKS
  optimizer: optax.GradientTransformation
  loss: PerExample
  scores: Mapping[str, PerExample]
  train_tasks: TaskDistribution
  val_tasks: TaskDistribution | None  # looked at during training, never trained on
  test_tasks: TaskDistribution
  training: Training
  test: Test
  seed: int
  pictures: Callable[[Params, PRNGKey], Mapping[str, Figure]]  # by file name
  notes: str  # what must be said beside every result: the source of the data, the kind of normalisation
  measures: Mapping[str, PerSet] = {}  # tested besides, of a query set as a whole; the first is what arms are judged by
  models: Models | None = None  # None where representations are not compared
  reading: Reading | None = None  # how to read ahead what training tasks leave on the host; None: each step fetches


def check(recipe: Recipe) -> None:
  """Traces a recipe's first step, which compiles, computes and writes nothing, so that a run need not start to fail.

  Raises:
    ValueError: if its parts do not fit each other.
  """
  if recipe.reading is not None and recipe.training.pmap:
    raise ValueError("what is read ahead goes to devices that tasks are mapped over by shard_map; give "
                     "config.training.pmap=False, or config.examples=host, with which each step fetches its own.")
  if recipe.reading is not None:
    read_shapes(recipe.train_tasks, recipe.training.tasks_per_step)  # it raises if they cannot be read
  key, optimizer = jax.random.key(recipe.seed), guarded_optimizer(recipe)
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  state = jax.eval_shape(lambda: init_state(recipe.learner, optimizer, recipe.train_tasks, key))
  advance = make_advance(recipe.objective, optimizer, recipe.train_tasks, key=key, mesh=mesh, num_steps=1,
                         num_tasks=recipe.training.tasks_per_step)
  _, metrics = jax.eval_shape(advance, state, recipe.train_tasks.data)
  known = [*metrics, *(f"val_{name}" for name in ("loss", *recipe.scores) if recipe.val_tasks is not None)]
  if recipe.training.keep_best.removeprefix("-") not in ("", *known):
    raise ValueError(f"config.training.keep_best={recipe.training.keep_best!r} is not measured; choose one of "
                     f"{', '.join(known)}.")


def guarded_optimizer(recipe: Recipe) -> optax.GradientTransformation:
  """Returns the optimizer that a recipe is trained with: its own, with the gradient clipped and checked as set."""
  return guard(recipe.optimizer, clip=recipe.training.clip_gradient, skip=recipe.training.skip_nonfinite)


def root_keys(recipe: Recipe) -> PRNGKey:
  """Returns the keys `[3]` of initialisation, of training and of the validation tasks."""
  return jax.random.split(jax.random.key(recipe.seed), 3)


def mapping(recipe: Recipe) -> DeviceMapping:
  """Returns how a recipe's tasks are mapped over the devices."""
  return over_tasks_by_pmap if recipe.training.pmap else over_tasks
