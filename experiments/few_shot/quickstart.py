"""ProtoNet with ConML on real images, in a few minutes on a laptop: the first run.

It uses Omniglot if available (METAJAX_DATA_DIR, the user's cache, or the official download), otherwise glyphs rendered
from fonts that pip installs, with a warning. For a benchmark, see omniglot_protonet.
Expected: 95 % on 5-way 1-shot tasks with glyphs of an unseen alphabet; the nearest class mean of raw pixels gets 72.5 %
(python -m benchmarks.pixels).
Needs: Omniglot, in METAJAX_DATA_DIR or downloaded, or else the extra metajax[glyphs].
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train

The end of its log on two cores that were not quite idle, with glyphs:
  step 500/500  50 tasks/s  loss -0.02173  accuracy 0.99  val_accuracy 0.93  took 02:00
  Test on 600 episodes (mean ± 95 % interval): loss 0.2220 ± 0.0393, accuracy 0.9534 ± 0.0054
"""

from dataclasses import dataclass, field

from experiments.images import image_pictures, image_tasks, whole_tasks
from experiments.settings import (Contrast, Test, Training, check_at_least, make_distance, make_normalisation,
                                  make_objective, make_optimizer)
from metajax import learners, losses, networks
from metajax.lab.recipe import Models, Recipe


@dataclass
class Config:
  """The paper's 5-way tasks, a small network, a short run."""
  seed: int = 0  # of initialisation and training tasks
  data: str = "auto"  # omniglot, glyphs, or auto: omniglot if available
  ways: int = 5  # classes per task
  shots: int = 1  # support examples per class
  queries: int = 5  # query examples per class
  filters: int = 32  # channels per block of the Conv4
  norm: str = "group"  # or none, running, batch; only with batch do predictions depend on the other queries
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=500, tasks_per_step=8, learning_rate=2e-3, schedule="cosine", steps_per_row=10, steps_per_dispatch=1,
      rows_per_checkpoint=10))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def get_config() -> Config:
  """Returns the default settings."""
  return Config()


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_at_least(2, config, "ways")
  check_at_least(1, config, "shots", "queries", "filters")
  normalise, said = make_normalisation(config.norm)
  network = networks.conv4(filters=config.filters, normalise=normalise, weights="shared")
  learner = learners.protonet(network, num_classes=config.ways)
  loss, scores = losses.softmax_cross_entropy, {"accuracy": losses.accuracy}
  objective = make_objective(config, learner, loss, scores)  # before any data is read, because it checks the settings
  train, val, test = map(image_tasks(config.data), ("train", "val", "test"))
  shape = {"ways": config.ways, "shots": config.shots, "queries": config.queries}
  return Recipe(
      learner=learner, test_learner=learner, objective=objective,
      optimizer=make_optimizer(config.training),
      loss=loss, scores=scores,
      train_tasks=train(**shape), val_tasks=val(**shape), test_tasks=test(**shape),
      training=config.training, test=config.test, seed=config.seed,
      pictures=image_pictures(learner, test, ways=config.ways, shots=config.shots),
      notes=f"{test.source} {config.ways}-way {config.shots}-shot, {said}.",
      models=Models(*whole_tasks(test, config.ways), make_distance(config.contrast)), reading=train.reading,
      transductive=config.norm == "batch", raw=test.raw(config.data))
