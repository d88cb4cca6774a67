"""MAML with ConML on Omniglot, 5-way 1-shot.

Paper: Finn et al., 2017 (https://arxiv.org/abs/1703.03400), with the objective of Wu et al., 2025. The network halves
by stride 2 and averages over space, as in MAML's own code; classes are split as by Vinyals et al. (1028 / 172 / 423),
each training class turned by quarter turns makes three more. The classes of a task are all turned alike: classes that
can be told apart by their turn make easier tasks in training than there are in the test.
Expected: 98.7 % (MAML, 60,000 steps; nearest mean of raw pixels, python -m benchmarks.pixels, 41.9 %).
Command: python -m launch.train --config=experiments/omniglot_maml.py --workdir=runs/omniglot_maml
The one flag people want: --config.conml=False

The end of its log on two cores, shared with other work:
  step 10000/10000  106 tasks/s  loss 0.0525  accuracy 0.9825  d_out 0.00631  val_accuracy 0.9543  took 30:49
  Test on 600 episodes (mean ± 95 % interval): accuracy 0.9542 ± 0.0037, loss 0.1340 ± 0.0107
It is still rising at the end, after a sixth of MAML's steps at half the tasks and half the filters.
"""

from dataclasses import dataclass, field

import optax

from experiments.images import image_pictures, image_tasks
from experiments.settings import Contrast, Test, Training, check_at_least, make_normalisation, make_objective
from metajax import learners, losses, networks
from metajax.recipe import Recipe


@dataclass
class Config:
  """One inner step of 0.4 in training and three in the test, as in MAML's paper."""
  seed: int = 0  # of initialisation and training tasks
  ways: int = 5  # classes of a task
  shots: int = 1  # support examples of each class
  queries: int = 5  # query examples of each class in training
  test_queries: int = 15  # query examples of each class in the test
  one_turn: bool = True  # whether all classes of a training task are turned alike, as they stand alike in the test
  filters: int = 32  # channels of each block of the Conv4; MAML has 64, which on two cores buys fewer steps
  norm: str = "batch"  # batch (current-batch statistics: transductive), group or none
  max_pool: bool = False  # halve by max-pooling and flatten, instead of by stride 2 and averaging
  inner_steps: int = 1  # gradient steps in training
  test_inner_steps: int = 3  # gradient steps in the test
  inner_rate: float = 0.4  # of the inner gradient descent
  first_order: bool = False  # FOMAML
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=10_000, tasks_per_step=16, learning_rate=3e-3, steps_per_row=100, rows_per_checkpoint=10, task_chunk=1))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def get_config() -> Config:
  """Returns the settings of the page above."""
  return Config()


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_at_least(0, config, "inner_steps", "test_inner_steps")
  check_at_least(2, config, "ways")
  check_at_least(1, config, "shots", "queries", "test_queries", "filters")
  normalise, said = make_normalisation(config.norm)
  network = networks.conv4(config.ways, filters=config.filters, normalise=normalise, max_pool=config.max_pool,
                           average=not config.max_pool)

  def learner(num_steps):
    return learners.maml(network, losses.softmax_cross_entropy, optimizer=optax.sgd(config.inner_rate),
                         num_steps=num_steps, first_order=config.first_order)

  trained, tested = learner(config.inner_steps), learner(config.test_inner_steps)
  train, val, test = map(image_tasks("omniglot", config.one_turn), ("train", "val", "test"))
  scores = {"accuracy": losses.accuracy}
  return Recipe(
      learner=trained, test_learner=tested,
      objective=make_objective(config, trained, losses.softmax_cross_entropy, scores),
      optimizer=optax.adam(optax.cosine_decay_schedule(config.training.learning_rate, config.training.steps)),
      loss=losses.softmax_cross_entropy, scores=scores,
      train_tasks=train(ways=config.ways, shots=config.shots, queries=config.queries),
      val_tasks=val(ways=config.ways, shots=config.shots, queries=config.test_queries),
      test_tasks=test(ways=config.ways, shots=config.shots, queries=config.test_queries),
      training=config.training, test=config.test, seed=config.seed,
      pictures=image_pictures(tested, test, ways=config.ways, shots=config.shots),
      notes=f"{test.source} {config.ways}-way {config.shots}-shot, {config.test_inner_steps} inner step(s), {said}.")
