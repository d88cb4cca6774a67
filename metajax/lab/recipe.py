"""A recipe: everything a run needs to know."""

from dataclasses import dataclass
from typing import Callable, Mapping, NamedTuple

import jax
from matplotlib.figure import Figure
import optax

from metajax.contrast.distances import Distance
from metajax.objectives.views import Views
from metajax.training.pipeline import Reading
from metajax.types import Estimator, Learner, Objective, Params, PerExample, PerSet, PRNGKey, TaskDistribution


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


def tasks_at_a_time(training: Training) -> int:
  """Returns how many tasks are mapped at a time, 0 for all: as set or, with -1, as this machine's devices want it."""
  if training.task_chunk >= 0:
    return training.task_chunk
  return 1 if jax.default_backend() == "cpu" else 0  # one task fits a CPU's cache; many fill an accelerator


class Models(NamedTuple):
  """What to look at where models of unseen tasks are compared: alignment, discrimination, clusters."""
  tasks: TaskDistribution  # support and query together are a whole task
  views: Views  # the subsets of it
  distance: Distance  # phi


class Recipe(NamedTuple):
  """Everything a run needs to know."""
  learner: Learner  # the one that is trained
  test_learner: Learner  # the one that is tested: the same, or with another number of inner steps
  objective: Objective | Estimator  # its axis_name is sharding.TASKS
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
