"""Every learner that can classify, with ConML, on Omniglot, 5-way 1-shot.

Classes are split as by Vinyals et al. (1028 / 172 / 423), each training class turned by quarter turns makes three more;
the objective is that of Wu et al., 2025.
Learners: maml and protonet (each with its own page: omniglot_maml.py, omniglot_protonet.py); fomaml, anil, metasgd,
reptile, imaml; protonet_cosine, matchingnet, matchingnet_full_context, relationnet; ridge; cnp, cnaps, simple_cnaps;
in_context.
Needs: Omniglot, in METAJAX_DATA_DIR or downloaded; with --config.data=glyphs, the extra metajax[glyphs].
Command: python -m launch.train --config=experiments/omniglot.py:ridge
The flags people want: --config.conml=False --config.shots=5 --config.data=glyphs (needs no Omniglot)
"""

from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

import optax

from experiments import inner_loop, settings
from experiments.few_shot import image_learners
from experiments.few_shot.image_learners import ANY_WAYS, CNAPS, WARM
from experiments.images import Tasks, image_pictures, image_tasks, whole_tasks
from experiments.settings import (Contrast, Test, Training, changed, check_at_least, check_positive, check_read, choose,
                                  make_distance, make_normalisation)
from metajax import losses
from metajax.lab.recipe import Models, Recipe


@dataclass
class Config(inner_loop.Descent):
  """What most learners share; see `defaults` for the rest."""
  learner: str = "maml"  # which; given with the recipe, --config=experiments/omniglot.py:<learner>
  seed: int = 0  # of initialisation and training tasks
  data: str = "omniglot"  # or omniglot-lake, within alphabets; or glyphs, rendered from fonts: no Omniglot needed
  examples: str = "auto"  # device, host (each step fetches), pipeline (the host reads ahead); auto: what fits
  workers: int = 0  # processes that read ahead, in the pipeline; 0 is a thread
  ways: int = 5  # classes of a task
  train_ways: int = 0  # classes of a training task; 0 is as many as in the test
  shots: int = 1  # support examples of each class
  train_queries: int = 5  # query examples of each class in training
  test_queries: int = 15  # query examples of each class in the test
  one_turn: bool = True  # whether all classes of a training task are turned alike, as they stand alike in the test
  filters: int = 32  # channels of each block of the Conv4, and of the last stages of cnaps' residual network
  norm: str = "batch"  # batch (current-batch statistics: transductive), group or none
  # For weights that differ from task to task (benchmarks.autotune measures them).
  convolution: str = "auto"  # gathered, patches or library; auto: gathered, but patches for imaml, faster there
  compute: str = "float32"  # or bfloat16: the networks' arithmetic; weights and gradients stay float32
  max_pool: bool = False  # halve by max-pooling instead of by stride 2; what adapts its weights then does not average
  temperature: float = 0.1  # of matching networks' cosines; protonet_cosine's, which is learned, starts here
  size: str = "tiny"  # of in_context's transformer: tiny, small or standard
  strength: float = 0.5
  solver_steps: int = 3
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=10_000, tasks_per_step=16, learning_rate=3e-3, steps_per_row=100, rows_per_checkpoint=10, task_chunk=-1))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with the settings in which it differs from MAML."""
  # On CPU the usual gradients of shared convolutions are slow within the loop that several steps a dispatch are.
  shared = {"steps": 2000, "steps_per_row": 25, "rows_per_checkpoint": 4, "steps_per_dispatch": 1}
  slower = {**shared, "learning_rate": 2e-3}
  at_once = {"task_chunk": 0}  # with 300 MiB instead of 26, steps with ConML take three quarters of the time
  residual = {**shared, "tasks_per_step": 8, "task_chunk": 0}  # its convolutions are slow in a loop over tasks, too
  return {
      "maml": {"training": at_once},
      "fomaml": {"first_order": True, "training": at_once},
      "anil": {"training": shared},
      "metasgd": {"training": at_once},
      "reptile": {"inner_steps": 5, "test_inner_steps": 5, "inner_rate": 0.1, "first_order": True},
      "imaml": {"inner_steps": 5, "test_inner_steps": 5, "training": {"tasks_per_step": 8, "steps_per_dispatch": 1}},
      "protonet": {"train_ways": 20, "one_turn": False, "filters": 64, "max_pool": True,
                   "training": {**shared, "steps": 1200, "tasks_per_step": 4}},
      "protonet_cosine": {"training": shared},
      "matchingnet": {"training": shared},
      "matchingnet_full_context": {"training": shared},
      "relationnet": {"training": shared},
      "ridge": {"training": shared},
      "cnp": {"training": slower},
      "cnaps": {"norm": "group", "training": residual},
      "simple_cnaps": {"norm": "group", "training": residual},
      "in_context": {"contrast": {"weight": 0.02, "distance": "sigmoid_squared"},
                     "training": {**slower, "task_chunk": 0}}}


def get_config(learner: str = "maml") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  # Whoever reports a number must know of what.
  choose("data", config.data, {"omniglot": None, "glyphs": None, "omniglot-vinyals": None, "omniglot-lake": None})
  return build_on(config, lambda: image_tasks(config.data, config.one_turn, examples=config.examples,
                                              workers=config.workers))


def build_on(config: Config, tasks: Callable[[], Callable[[str], Tasks]]) -> Recipe:
  """Returns the recipe of these settings on the tasks, by split, that are made once the settings have been checked."""
  _check(config)
  loss, scores = losses.softmax_cross_entropy, {"accuracy": losses.accuracy}
  normalise, said = make_normalisation(config.norm)
  train_ways = config.train_ways or config.ways
  trained = image_learners.make_learner(config, normalise, train_ways, config.inner_steps)
  tested = image_learners.make_learner(config, normalise, config.ways, config.test_inner_steps)
  make_objective = settings.make_reptile if config.learner == "reptile" else settings.make_objective
  objective = make_objective(config, trained, loss, scores)  # before anything is read: it checks settings
  train, val, test = map(tasks(), ("train", "val", "test"))
  steps = f"{config.test_inner_steps} inner step(s), " if config.learner in inner_loop.LEARNERS else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=objective,
      optimizer=optax.adam(optax.cosine_decay_schedule(config.training.learning_rate, config.training.steps)),
      loss=loss, scores=scores,
      train_tasks=train(ways=train_ways, shots=config.shots, queries=config.train_queries),
      val_tasks=val(ways=config.ways, shots=config.shots, queries=config.test_queries),
      test_tasks=test(ways=config.ways, shots=config.shots, queries=config.test_queries),
      training=config.training, test=config.test, seed=config.seed,
      pictures=image_pictures(tested, test, ways=config.ways, shots=config.shots),
      notes=f"{test.source} {config.ways}-way {config.shots}-shot, {steps}{said}.",
      models=Models(*whole_tasks(test, config.ways), make_distance(config.contrast)),
      reading=train.reading)


def _check(config: Config) -> None:
  inner_loop.check(config)
  check_at_least(0, config, "workers")
  check_at_least(2, config, "ways", *(["train_ways"] if config.train_ways else []))
  check_at_least(1, config, "shots", "train_queries", "test_queries", "filters")
  check_positive(config, "temperature")
  check_read(config, train_ways=ANY_WAYS, max_pool=[name for name in defaults() if name not in CNAPS],
             temperature=WARM, size=["in_context"])
