"""ProtoNet with ConML on Omniglot, 5-way 1-shot.

Paper: Snell et al., 2017 (https://arxiv.org/abs/1703.05175), with the objective of Wu et al., 2025. Classes are split
as by Vinyals et al. (1028 / 172 / 423), each training class turned by quarter turns makes three more.
Expected: 98.8 % (Snell et al., trained on 60-way tasks); nearest mean of raw pixels gets 41.9 %
(python -m benchmarks.pixels).
Command: python -m launch.train --config=experiments/omniglot_protonet.py --workdir=runs/omniglot_protonet
The one flag people want: --config.conml=False

The end of its log on two cores, shared with other work:
  step 1200/1200  6.8 tasks/s  loss 0.08188  accuracy 0.9629  d_in 0.03713  d_out 0.352  val_accuracy 0.9711  took 19:06
  Test on 600 episodes (mean ± 95 % interval): accuracy 0.9724 ± 0.0030, loss 0.0826 ± 0.0098
"""

from dataclasses import dataclass, field

import optax

from experiments.images import image_pictures, image_tasks
from experiments.settings import Contrast, Test, Training, check_at_least, make_normalisation, make_objective
from metajax import learners, losses, networks
from metajax.networks import convolution
from metajax.recipe import Recipe


@dataclass
class Config:
  """Many ways in training make the embedding sharper; ConML wants several tasks in a step."""
  seed: int = 0  # of initialisation and training tasks
  ways: int = 5  # classes of a test task
  shots: int = 1  # support examples of each class, in training and test
  queries: int = 15  # query examples of each class in the test
  train_ways: int = 20  # classes of a training task
  train_queries: int = 5  # query examples of each class in training
  filters: int = 64  # channels of each block of the Conv4
  norm: str = "batch"  # batch (current-batch statistics: transductive), group or none
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=1200, tasks_per_step=4, learning_rate=3e-3, steps_per_row=25, steps_per_dispatch=1, rows_per_checkpoint=4))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def get_config() -> Config:
  """Returns the settings of the page above."""
  return Config()


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_at_least(2, config, "ways", "train_ways")
  check_at_least(1, config, "shots", "queries", "train_queries", "filters")
  normalise, said = make_normalisation(config.norm)
  network = networks.conv4(filters=config.filters, normalise=normalise, convolve=convolution.shared)
  learner = learners.protonet(network, num_classes=config.train_ways)
  tested = learners.protonet(network, num_classes=config.ways)
  train, val, test = map(image_tasks("omniglot"), ("train", "val", "test"))
  scores = {"accuracy": losses.accuracy}
  return Recipe(
      learner=learner, test_learner=tested,
      objective=make_objective(config, learner, losses.softmax_cross_entropy, scores),
      optimizer=optax.adam(optax.cosine_decay_schedule(config.training.learning_rate, config.training.steps)),
      loss=losses.softmax_cross_entropy, scores=scores,
      train_tasks=train(ways=config.train_ways, shots=config.shots, queries=config.train_queries),
      val_tasks=val(ways=config.ways, shots=config.shots, queries=config.queries),
      test_tasks=test(ways=config.ways, shots=config.shots, queries=config.queries),
      training=config.training, test=config.test, seed=config.seed,
      pictures=image_pictures(tested, test, ways=config.ways, shots=config.shots),
      notes=f"{test.source} {config.ways}-way {config.shots}-shot, {said}.")
