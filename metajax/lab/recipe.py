"""A recipe: everything a run needs to know."""

from dataclasses import dataclass
from typing import Callable, Mapping, NamedTuple

import jax
from matplotlib.figure import Figure
import optax

from metajax.contrast.distances import Distance
from metajax.objectives.views import Views
from metajax.serving.inputs import Raw
from metajax.training.pipeline import Reading
from metajax.types import Estimator, Learner, Objective, Params, PerExample, PerSet, PRNGKey, PyTree, TaskDistribution


@dataclass
class Training:
  """The outer loop."""
  steps: int = 1000  # total number of meta-steps
  tasks_per_step: int = 32  # tasks in a meta-batch, over all devices
  learning_rate: float = 1e-3  # learning rate of the outer optimizer; the largest, with a schedule
  optimizer: str = "adam"  # the outer optimizer: adam, adamw, lamb or sgd
  momentum: float = 0.9  # of sgd
  weight_decay: float = 0.0  # of adamw, lamb and sgd; Adam has none
  schedule: str = "constant"  # of the learning rate: constant, or cosine (to zero at the last step)
  warmup_steps: int = 0  # steps in which the learning rate rises from zero, before the schedule
  accumulate: int = 1  # steps whose gradients are averaged into one update
  steps_per_row: int = 50  # steps in one row of metrics.csv
  steps_per_dispatch: int = 50  # steps in one dispatch to the device; 1 where convolutions must not be in a loop
  rows_per_checkpoint: int = 10  # rows between two checkpoints, and between two validations
  task_chunk: int = 0  # tasks mapped at a time; 0: all at once; -1: chosen for the machine
  pmap: bool = False  # map tasks over devices with jax.pmap instead of jax.shard_map
  spread_state: bool = False  # shard parameters and optimizer state over devices: for large networks
  clip_gradient: float = 0.0  # maximum global norm of the gradient of a step, before `accumulate`; 0: none
  skip_nonfinite: int = 0  # maximum number of consecutive updates skipped for non-finite gradients; 0: the run stops
  keep_newest: int = 2  # number of newest checkpoints to keep
  keep_every: int = 0  # also keep checkpoints whose step is a multiple of this; 0: none
  keep_best: str = ""  # keep and test the best by a metric: val_accuracy for the largest, -val_loss for the smallest
  patience: int = 0  # validations without a new best, by keep_best, after which training stops; 0: it never does


@dataclass
class Test:
  """The frozen lists of episodes."""
  episodes: int = 600  # number of test episodes
  val_episodes: int = 100  # episodes of each validation during training
  seed: int = 0  # seed of the test list, separate from the training seed: all runs are tested on the same episodes


def tasks_at_a_time(training: Training) -> int:
  """Returns how many tasks are mapped at a time, 0 for all: as set or, with -1, as suits this machine's devices."""
  if training.task_chunk >= 0:
    return training.task_chunk
  return 1 if jax.default_backend() == "cpu" else 0  # one task fits into a CPU's cache; many fill an accelerator


def data_of(recipe: "Recipe") -> list[PyTree]:
  """Returns the data of training, validation and test tasks."""
  return [tasks.data for tasks in (recipe.train_tasks, recipe.val_tasks, recipe.test_tasks) if tasks is not None]


class Models(NamedTuple):
  """The tasks, subsets and distance with which models of unseen tasks are compared (alignment, discrimination)."""
  tasks: TaskDistribution  # support and query together are the whole task
  views: Views  # how subsets of a task are drawn
  distance: Distance  # phi


class Recipe(NamedTuple):
  """Everything a run needs to know."""
  learner: Learner  # the learner that is trained
  test_learner: Learner  # the learner that is tested: the same, or with a different number of inner steps
  objective: Objective | Estimator  # its axis_name is sharding.TASKS
  optimizer: optax.GradientTransformation
  loss: PerExample
  scores: Mapping[str, PerExample]
  train_tasks: TaskDistribution
  val_tasks: TaskDistribution | None  # for validation during training; never trained on
  test_tasks: TaskDistribution
  training: Training
  test: Test
  seed: int
  pictures: Callable[[Params, PRNGKey], Mapping[str, Figure]]  # by file name
  notes: str  # stated with every result: the source of the data, the kind of normalisation
  measures: Mapping[str, PerSet] = {}  # measures of whole query sets; arms are compared by the first
  models: Models | None = None  # None if representations are not compared
  transductive: bool = False  # whether predictions depend on the other queries: tests then also ask one at a time
  raw: Raw = Raw()  # what inputs and targets are before they become those of the learner, for use after training
  reading: Reading | None = None  # how to read examples on the host ahead of training; None: each step fetches its own
