"""MAML with ConML on sinusoids: regression from 10 points, one gradient step.

Paper: Finn et al., 2017, section 5.1 (https://arxiv.org/abs/1703.03400), with the objective of Wu et al., 2025.
Expected: trained at 10 shots, tested at 5 shots after one step, mean squared error 0.67 (MAML's Table 2).
Command: python -m launch.train --config=experiments/sinusoid_maml.py --workdir=runs/sinusoid_maml
The one flag people want: --config.conml=False

The end of its log on two cores (with --config.conml=False, beside another job: 70894 tasks/s):
  step 70000/70000  40176 tasks/s  loss 0.3672  d_in 4.768e-06  d_out 7.637e-05  val_loss 0.7344  took 00:48
  Test on 2000 episodes (mean ± 95 % interval): loss 0.6166 ± 0.0338
The two distances are tiny because weights are theta plus a little: at lambda 0.1 the contrast hardly acts here.
"""

from dataclasses import dataclass, field

from flax import linen as nn
import optax

from experiments.settings import Contrast, Test, Training, check_at_least, make_objective
from metajax import learners, losses, networks, pictures
from metajax.data.sinusoids import sinusoids
from metajax.objectives import views
from metajax.recipe import Recipe


@dataclass
class Config:
  """MAML's own setting; what the ConML paper does not restate is MAML's."""
  seed: int = 0  # of initialisation and training tasks
  shots: int = 10  # support points in training
  queries: int = 10  # query points in training; MAML takes as many as there are shots
  test_shots: int = 5  # support points in the test
  test_queries: int = 100  # query points in the test
  hidden: tuple[int, ...] = (40, 40)  # units of the hidden layers
  inner_steps: int = 1  # gradient steps in training
  test_inner_steps: int = 1  # gradient steps in the test
  inner_rate: float = 0.01  # of the inner gradient descent
  first_order: bool = False  # FOMAML
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=70_000, tasks_per_step=25, steps_per_row=500, rows_per_checkpoint=20))
  test: Test = field(default_factory=lambda: Test(episodes=2000))


def get_config() -> Config:
  """Returns the settings of the page above."""
  return Config()


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_at_least(0, config, "inner_steps", "test_inner_steps")
  check_at_least(1, config, "shots", "queries", "test_shots", "test_queries", "hidden")
  network = networks.mlp(config.hidden, 1, kernel_init=nn.initializers.truncated_normal(0.01))

  def learner(num_steps):
    return learners.maml(network, losses.squared_error, optimizer=optax.sgd(config.inner_rate), num_steps=num_steps,
                         first_order=config.first_order)

  def draw(params, key):
    dense = sinusoids(config.test_shots, 500)
    steps = {count: learner(count) for count in (0, 1, 10)}
    fit = pictures.fit_picture(steps, params, dense, key, span=(-5.0, 5.0))
    task_map, _ = pictures.map_picture(
        learner(config.test_inner_steps), params, sinusoids(5 * config.shots, 5 * config.shots),
        views.random_subsets(10, config.shots), key,
        "Models of ten sinusoids, ten subsets each")
    return {"fit.png": fit, "task_map.png": task_map}

  trained = learner(config.inner_steps)
  return Recipe(
      learner=trained, test_learner=learner(config.test_inner_steps),
      objective=make_objective(config, trained, losses.squared_error, {}),
      optimizer=optax.adam(config.training.learning_rate), loss=losses.squared_error, scores={},
      train_tasks=sinusoids(config.shots, config.queries),
      val_tasks=sinusoids(config.test_shots, config.test_queries),
      test_tasks=sinusoids(config.test_shots, config.test_queries),
      training=config.training, test=config.test, seed=config.seed, pictures=draw,
      notes=f"Sinusoids, trained at {config.shots} shots, tested at {config.test_shots} shots after "
            f"{config.test_inner_steps} step(s); loss is the mean squared error.")
