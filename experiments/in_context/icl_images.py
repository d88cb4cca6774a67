"""General-purpose in-context learning: images classified from labelled examples in a prompt, with ConML.

Paper: Kirsch et al., 2022 (https://arxiv.org/abs/2212.04458). The inputs of every task are multiplied by a random
matrix, so that the model learns to learn from any vectors instead of learning image features. The objective is that of
Wu et al., 2025, section 5.3 (lambda 0.02, half prompts), with the loss at every position of the prompt.
Expected: above chance (1 / `ways`) and close to the nearest class mean of raw pixels, since a random matrix roughly
preserves only distances (5-way 1-shot on Omniglot: 41.9 %, python -m benchmarks.pixels).
Needs: Omniglot, in METAJAX_DATA_DIR or downloaded; with --config.data=glyphs, the extra metajax[glyphs].
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=icl_images --workdir=runs/icl_images
"""

from dataclasses import dataclass, field

from experiments.images import image_tasks
from experiments.settings import Test, Training, check_at_least, choose, make_optimizer
from metajax import learners, losses, objectives
from metajax.lab.recipe import Recipe
from metajax.learners.class_means import one_hot
from metajax.learners.in_context import read
from metajax.networks.transformer import SIZES, transformer
from metajax.tasks.projected import projected
from metajax.training.sharding import TASKS
from metajax.types import Examples


@dataclass
class Config:
  """Short prompts of few classes, for two cores."""
  seed: int = 0  # of initialisation and training tasks
  data: str = "omniglot"  # omniglot or glyphs
  ways: int = 5  # classes per task
  shots: int = 1  # examples per class before the query, in the test
  points: int = 16  # per training prompt
  pool: int = 20  # examples per class from which the points of a prompt are sampled
  test_queries: int = 5  # query examples per class in the test
  width: int = 32  # of the projected inputs
  size: str = "tiny"  # of the transformer: tiny, small or standard
  conml: bool = True  # whether the contrastive term is on
  weight: float = 0.02  # lambda, of the contrastive term
  training: Training = field(default_factory=lambda: Training(
      steps=10_000, tasks_per_step=64, learning_rate=1e-3, steps_per_row=100, steps_per_dispatch=10))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def get_config() -> Config:
  """Returns the default settings."""
  return Config()


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_at_least(1, config, "shots", "test_queries", "width", "training.steps",
                 "training.tasks_per_step", "training.steps_per_row", "training.steps_per_dispatch",
                 "training.rows_per_checkpoint")
  check_at_least(2, config, "ways", "points", "pool", "test.episodes", "test.val_episodes")
  if config.width < config.ways:
    raise ValueError(f"config.width={config.width} is too small; labels are tokens too and need {config.ways}.")
  layers, heads, width = choose("size", config.size, SIZES)
  points = max(config.points, config.ways * config.shots)
  network = transformer(config.ways, max_tokens=2 * points + 1, layers=layers, heads=heads, width=width)
  learner = learners.in_context(network, num_classes=config.ways)
  train, val, test = map(image_tasks(config.data), ("train", "val", "test"))
  scores = {"accuracy": losses.accuracy}

  def along(params, inputs, targets, mask, queries, seen):
    return read(network, params, inputs, one_hot(Examples(inputs, targets, mask), config.ways, inputs.dtype), mask,
                queries, seen)

  def tested(split):
    return projected(split(ways=config.ways, shots=config.shots, queries=config.test_queries), config.width)

  return Recipe(
      learner=learner, test_learner=learner,
      objective=objectives.autoregressive(along, losses.softmax_cross_entropy, scores,
                                          weight=config.weight if config.conml else 0.0, axis_name=TASKS),
      optimizer=make_optimizer(config.training), loss=losses.softmax_cross_entropy, scores=scores,
      train_tasks=projected(train(ways=config.ways, shots=1, queries=config.pool - 1), config.width, config.points),
      val_tasks=tested(val), test_tasks=tested(test), training=config.training, test=config.test,
      seed=config.seed, pictures=lambda params, key: {},
      notes=f"{test.source} {config.ways}-way {config.shots}-shot in context, {config.size} transformer, inputs "
            "randomly projected for each task.", reading=train.reading)
