"""Every learner that can regress, with ConML, on sinusoids: regression from 10 points.

The tasks of Finn et al., 2017, section 5.1 (https://arxiv.org/abs/1703.03400), with the objective of Wu et al., 2025.
--help lists the learners; one has its own recipe, sinusoid_maml.
Needs: nothing but metajax.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=sinusoid:ridge
"""

from dataclasses import dataclass, field
import functools
from typing import Any, Mapping

from flax import linen as nn
import jax
import jax.numpy as jnp

from experiments import inner_loop, learner_table, settings
from experiments.learner_table import Parts, Row
from experiments.settings import Contrast, Test, Training, changed, check_at_least, choose, make_optimizer
from metajax import losses, networks
from metajax.lab import pictures
from metajax.lab.recipe import Models, Recipe
from metajax.learners.in_context import read
from metajax.networks.transformer import SIZES, transformer
from metajax.objectives import views
from metajax.tasks.sinusoids import sinusoids
from metajax.types import Learner, Objective, SequenceNetwork

_FEATURES = 40  # dimension of the description of a point or of a task


@dataclass
class Config(inner_loop.Descent):
  """MAML's setting, also where the ConML paper does not state its own."""
  learner: str = "maml"  # the learner; given with the recipe, --config=sinusoid:<learner>
  seed: int = 0  # of initialisation and training tasks
  shots: int = 10  # support points in training
  queries: int = 10  # query points in training; MAML takes as many as there are shots
  test_shots: int = 5  # support points in the test
  test_queries: int = 100  # query points in the test
  test_shift: float = 0.0  # added to both ends of the range of amplitudes in the test, for out-of-distribution tasks
  hidden: tuple[int, ...] = (40, 40)  # units of the hidden layers
  activation: str = "relu"  # if all weights are adapted in few steps; tanh: standard initialisation
  first_weights: str = "small"  # with relu: small (MAML's, 0.01; some units die) or lecun (flax's default)
  size: str = "tiny"  # of the transformer, for in-context learning: tiny, small or standard
  test_inner_steps: int = 1
  inner_rate: float = 0.01
  psi: str = "weights"  # the representation: adapted weights (as in the paper), or their change (ours)
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=70_000, tasks_per_step=25, steps_per_row=500, rows_per_checkpoint=20))
  test: Test = field(default_factory=lambda: Test(episodes=2000))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  return learner_table.defaults("sinusoids", lambda row: {"training": {"steps": 20_000}})


def get_config(learner: str = "maml") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def sweeps(config: Config) -> str:
  """Returns the further tests of a comparison: of Wu et al., 2025, Figure 2, and of Finn et al., 2017, Table 2."""
  steps = ",config.test_inner_steps=1,2,5,10" if learner_table.TABLE[config.learner].descends else ""
  return "config.test_shots=2,3,5,10,15,20,config.test_shift=0,0.5,1,1.5,2,2.5,3" + steps


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  inner_loop.check(config)
  check_at_least(0, config, "test_shift")
  check_at_least(1, config, "shots", "queries", "test_shots", "test_queries", "hidden")
  row = learner_table.check(config, "sinusoids")
  # Models of unseen tasks are learned from a hundred points, and from subsets as large as a support set.
  whole_tasks = sinusoids(5 * config.shots, 5 * config.shots), views.random_subsets(10, config.shots)

  def draw(params, key):
    dense = sinusoids(config.test_shots, 500)
    before, after = _unlearned(tested), {"after adaptation": tested}
    if row.descends:
      before, once, often = (make_learner(config, count) for count in (0, 1, 10))
      after = {"after 1 step": once, "after 10 steps": often}
    fit = pictures.fit_picture(before, after, params, dense, key, span=(-5.0, 5.0))
    task_map, _ = pictures.map_picture(
        tested, params, *whole_tasks, key, "Models of ten sinusoids, ten subsets each")
    return {"fit.png": fit, "task_map.png": task_map}

  trained, tested = make_learner(config, config.inner_steps), make_learner(config, config.test_inner_steps)
  after = f" after {config.test_inner_steps} step(s)" if row.descends else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=_make_objective(config, row, trained),
      optimizer=make_optimizer(config.training), loss=losses.squared_error, scores={},
      train_tasks=sinusoids(config.shots, config.queries),
      val_tasks=sinusoids(config.test_shots, config.test_queries),
      test_tasks=sinusoids(config.test_shots, config.test_queries,
                           amplitude=(0.1 + config.test_shift, 5.0 + config.test_shift)),
      training=config.training, test=config.test, seed=config.seed, pictures=draw,
      notes=f"Sinusoids, trained at {config.shots} shots, tested at {config.test_shots} shots{after}, predictions are "
            "inductive; loss is the mean squared error.",
      models=Models(*whole_tasks, settings.make_distance(config.contrast)))


def make_learner(config: Config, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names, with `num_steps` inner steps if it has inner steps."""
  row = choose("learner", config.learner, learner_table.offered("sinusoids"))
  mlp = functools.partial(networks.mlp, config.hidden, weights="shared")
  features = mlp(_FEATURES)
  # MAML's initial weights are so small that slower learners hardly move from them.
  first = choose("first_weights", config.first_weights, {
      "small": nn.initializers.truncated_normal(0.01), "lecun": nn.initializers.lecun_normal()})
  smooth = choose("activation", config.activation, {"relu": False, "tanh": True}) or row.smooth
  own = functools.partial(mlp, 1, weights="per_task")
  learner = row.make(Parts(
      config, losses.squared_error, num_steps, num_classes=None,
      network=own(activation=nn.tanh) if smooth else own(kernel_init=first), body=features,
      head=networks.mlp((), 1), features=features, describe=features, decide=mlp(1), sequence=_transformer(config)))
  if choose("psi", config.psi, {"weights": False, "change": True}):
    learner = learner._replace(represent=lambda params, adapted, key: jax.tree.map(jnp.subtract, adapted, params))
  return learner


def _transformer(config: Config) -> SequenceNetwork:
  layers, heads, width = choose("size", config.size, SIZES)
  # The figures use ten times the shots. A point has two tokens; one more is for the query or dummy input.
  points = max(10 * config.shots, config.shots + config.queries, config.test_shots)
  return transformer(1, max_tokens=2 * points + 1, layers=layers, heads=heads, width=width)


def _make_objective(config: Config, row: Row, learner: Learner) -> Objective:
  if row.prompt:  # learns to predict from any number of examples, so the test may use another number
    return settings.make_autoregressive(config, functools.partial(read, _transformer(config)), losses.squared_error)
  return row.objective(config, learner, losses.squared_error, {})


def _unlearned(learner: Learner) -> Learner:
  """Returns the learner before adaptation, with all support examples masked out."""
  nothing = lambda examples: examples._replace(mask=examples.mask & False)
  return learner._replace(adapt=lambda params, examples, key: learner.adapt(params, nothing(examples), key))
