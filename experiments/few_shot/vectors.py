"""Every learner on vectors, with ConML, on classes of vectors: your arrays, or intents of CLINC150 or Banking77.

A fully connected network on inputs [n, features]; texts are represented by counts of hashed n-grams.
--help lists the learners.
Needs: the data of --config.data: your arrays, or CLINC150 or Banking77, in METAJAX_DATA_DIR or downloaded.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=vectors:protonet --config.data=npz:arrays.npz
Common flags: --config.ways=10 --config.shots=5
"""

from dataclasses import dataclass
from typing import Any, Mapping

from experiments import own_classes, vector_learners
from experiments.settings import changed, check_at_least, choose, make_optimizer
from experiments.sources import vector_reader
from metajax import losses
from metajax.lab.recipe import Recipe
from metajax.tasks.class_data import SPLITS, ClassData
from metajax.tasks.classes import class_tasks
from metajax.types import Estimator, Learner, Objective, TaskDistribution


@dataclass
class Config(vector_learners.Config):
  """A small network, 5-way 1-shot."""
  data: str = "clinc150"  # clinc150, banking77 or npz:<path>
  ways: int = 5  # classes per task
  train_ways: int = 0  # classes per training task; 0: as many as in the test
  shots: int = 1  # support examples per class
  train_queries: int = 5  # query examples per class in training
  test_queries: int = 15  # query examples per class in the test


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  return vector_learners.defaults()


def get_config(learner: str = "protonet") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  row = vector_learners.check(config)
  check_at_least(2, config, "ways", *(["train_ways"] if config.train_ways else []))
  check_at_least(1, config, "shots", "train_queries", "test_queries")
  loss, scores = losses.softmax_cross_entropy, {"accuracy": losses.accuracy}

  def made(config: Config) -> tuple[Learner, Learner, Objective | Estimator]:
    trained = vector_learners.make_learner(config, config.train_ways or config.ways, classes=True,
                                           num_steps=config.inner_steps)
    tested = vector_learners.make_learner(config, config.ways, classes=True, num_steps=config.test_inner_steps)
    return trained, tested, row.objective(config, trained, loss, scores)

  trained, tested, objective = made(config)  # before any data is read, because it checks the settings
  load, prepare = vector_reader(config.data)
  parts: Mapping[str, ClassData] = {split: load(split) for split in SPLITS}
  fitted, own = "", own_classes.is_own(config.data)
  if own:
    config, parts, fitted = own_classes.fit(config, get_config(config.learner), parts, row.any_ways)
    trained, tested, objective = made(config)

  def tasks(split: str, ways: int, queries: int) -> TaskDistribution:
    data = parts[split]
    if data.examples.ndim != 2:
      raise ValueError(f"config.data={config.data!r} must hold vectors [n, features], but its inputs are "
                       f"{list(data.examples.shape)}; for images, use the recipe few_shot.")
    try:
      return class_tasks(data, ways=ways, shots=config.shots, queries=queries, prepare=prepare,
                         unequal=own)
    except ValueError as error:
      raise ValueError(f"such {split} tasks are impossible: {error}") from error

  steps = f"{config.test_inner_steps} inner step(s), " if row.descends else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=objective,
      optimizer=make_optimizer(config.training), loss=loss, scores=scores,
      train_tasks=tasks("train", config.train_ways or config.ways, config.train_queries),
      val_tasks=tasks("val", config.ways, config.test_queries),
      test_tasks=tasks("test", config.ways, config.test_queries), training=config.training, test=config.test,
      seed=config.seed, pictures=lambda params, key: {},
      notes=f"{parts['test'].source} {config.ways}-way {config.shots}-shot, {steps}predictions are inductive."
            f"{fitted}")
