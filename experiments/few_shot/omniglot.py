"""Every learner that can classify, with ConML, on Omniglot, 5-way 1-shot.

Classes are split as by Vinyals et al. (1028 / 172 / 423). Rotations of a training class by 90, 180 and 270 degrees
count as three more classes. The objective is that of Wu et al., 2025. --help lists the learners; two have their own
recipes, omniglot_maml and omniglot_protonet.
Needs: Omniglot, in METAJAX_DATA_DIR or downloaded; with --config.data=glyphs, the extra metajax[glyphs].
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=omniglot:ridge
Common flags: --config.shots=5 --config.data=glyphs (needs no Omniglot)
"""

from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

from experiments import inner_loop, learner_table, own_classes
from experiments.few_shot import image_learners
from experiments.images import Tasks, image_pictures, image_tasks, whole_tasks
from experiments.learner_table import Row
from experiments.settings import (Contrast, Test, Training, changed, check_at_least, check_positive, choose,
                                  make_distance, make_normalisation, make_optimizer)
from metajax import losses
from metajax.lab.recipe import Models, Recipe
from metajax.tasks.class_data import SPLITS
from metajax.types import Estimator, Learner, Objective


@dataclass
class Config(inner_loop.Descent):
  """Settings shared by most learners; see `defaults` for the rest."""
  learner: str = "maml"  # the learner; given with the recipe, --config=omniglot:<learner>
  seed: int = 0  # of initialisation and training tasks
  data: str = "omniglot"  # or omniglot-lake, within alphabets; or glyphs, rendered from fonts, without Omniglot
  examples: str = "auto"  # device, host (each step fetches), pipeline (the host prefetches); auto: the first that fits
  workers: int = 0  # prefetching processes of the pipeline; 0: a thread
  ways: int = 5  # classes per task
  train_ways: int = 0  # classes per training task; 0: as many as in the test
  shots: int = 1  # support examples per class
  train_queries: int = 5  # query examples per class in training
  test_queries: int = 15  # query examples per class in the test
  one_turn: bool = True  # whether all classes of a training task are rotated alike, as in the test
  filters: int = 32  # channels per block of the Conv4, and of the last stages of a modulated residual network
  norm: str = "group"  # or none, running, batch; only with batch, as published, do predictions depend on other queries
  convolution: str = "auto"  # only auto: the form is chosen at compilation; kept for older runs
  compute: str = "float32"  # or bfloat16, for the networks' arithmetic; weights and gradients stay float32
  max_pool: bool = False  # max-pooling instead of stride 2; networks with adapted weights then do not average
  temperature: float = 0.1  # of cosines: of a matching network, or the initial value of the learned one of prototypes
  size: str = "tiny"  # of the transformer, for in-context learning: tiny, small or standard
  strength: float = 0.5
  solver_steps: int = 3
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=10_000, tasks_per_step=16, learning_rate=3e-3, schedule="cosine", steps_per_row=100, rows_per_checkpoint=10,
      task_chunk=-1))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  # Several steps per dispatch are a loop, in which gradients of shared convolutions are slow on CPU.
  shared = {"steps": 2000, "steps_per_row": 25, "rows_per_checkpoint": 4, "steps_per_dispatch": 1}
  return learner_table.defaults("images", lambda row: {} if row.whole else {"training": shared})


def get_config(learner: str = "maml") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  # State in the notes what the tested network is.
  choose("data", config.data, {"omniglot": None, "glyphs": None, "omniglot-vinyals": None, "omniglot-lake": None})
  return build_on(config, lambda: image_tasks(config.data, config.one_turn, examples=config.examples,
                                              workers=config.workers))


def build_on(config: Config, tasks: Callable[[], Callable[[str], Tasks]], default: Config | None = None) -> Recipe:
  """Returns the recipe of these settings; the tasks of each split are made after the settings have been checked.

  With `default`, the settings are fitted to the user's own data as by `own_classes.fit`.
  """
  row = _check(config)
  loss, scores = losses.softmax_cross_entropy, {"accuracy": losses.accuracy}
  normalise, said = make_normalisation(config.norm)

  def made(config: Config) -> tuple[Learner, Learner, Objective | Estimator]:
    trained = image_learners.make_learner(config, normalise, config.train_ways or config.ways, config.inner_steps)
    tested = image_learners.make_learner(config, normalise, config.ways, config.test_inner_steps)
    return trained, tested, row.objective(config, trained, loss, scores)

  trained, tested, objective = made(config)  # before any data is read, because it checks the settings
  splits, fitted = {split: make(split) for make in [tasks()] for split in SPLITS}, ""
  if default is not None:
    config, data, fitted = own_classes.fit(config, default, {split: splits[split].data for split in SPLITS},
                                           row.any_ways)
    splits = {split: splits[split]._replace(data=data[split], padded=True) for split in SPLITS}
    trained, tested, objective = made(config)
  train, val, test = splits.values()
  steps = f"{config.test_inner_steps} inner step(s), " if row.descends else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=objective,
      optimizer=make_optimizer(config.training),
      loss=loss, scores=scores,
      train_tasks=train(ways=config.train_ways or config.ways, shots=config.shots, queries=config.train_queries),
      val_tasks=val(ways=config.ways, shots=config.shots, queries=config.test_queries),
      test_tasks=test(ways=config.ways, shots=config.shots, queries=config.test_queries),
      training=config.training, test=config.test, seed=config.seed,
      pictures=image_pictures(tested, test, ways=config.ways, shots=config.shots),
      notes=f"{test.source} {config.ways}-way {config.shots}-shot, {steps}{said}.{fitted}",
      models=Models(*whole_tasks(test, config.ways), make_distance(config.contrast)),
      reading=train.reading,
      transductive=config.norm == "batch", raw=test.raw(config.data))


def _check(config: Config) -> Row:
  inner_loop.check(config)
  check_at_least(0, config, "workers")
  check_at_least(2, config, "ways", *(["train_ways"] if config.train_ways else []))
  check_at_least(1, config, "shots", "train_queries", "test_queries", "filters")
  check_positive(config, "temperature")
  return learner_table.check(config, "images")
