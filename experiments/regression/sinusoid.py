"""Every learner that can regress, with ConML, on sinusoids: regression from 10 points.

The tasks of Finn et al., 2017, section 5.1 (https://arxiv.org/abs/1703.03400), with the objective of Wu et al., 2025.
Learners: maml (its own page: sinusoid_maml.py), fomaml, anil, metasgd, reptile, imaml, ridge, cnp, in_context.
Needs: nothing but metajax.
Command: python -m launch.train --config=experiments/sinusoid.py:ridge
The one flag people want: --config.conml=False
"""

from dataclasses import dataclass, field
import functools
from typing import Any, Callable, Mapping

from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from experiments import inner_loop, settings
from experiments.settings import Contrast, Test, Training, changed, check_at_least, check_read, choose
from metajax import learners, losses, networks
from metajax.kernels import products
from metajax.lab import pictures
from metajax.lab.recipe import Models, Recipe
from metajax.learners.in_context import read
from metajax.networks.transformer import SIZES, transformer
from metajax.objectives import views
from metajax.tasks.sinusoids import sinusoids
from metajax.types import Learner, Objective, SequenceNetwork

_FEATURES = 40  # of a point, where a learner describes points, and of a task, where one describes tasks
_WHOLE = ("maml", "fomaml", "metasgd")  # those that adapt a whole network of the first weights and activation chosen
_MOVED = ("maml", "fomaml", "reptile", "imaml")  # learners whose task models are of the parameters' own structure


@dataclass
class Config(inner_loop.Descent):
  """MAML's own setting; what the ConML paper does not restate is MAML's."""
  learner: str = "maml"  # which; given with the recipe, --config=experiments/sinusoid.py:<learner>
  seed: int = 0  # of initialisation and training tasks
  shots: int = 10  # support points in training
  queries: int = 10  # query points in training; MAML takes as many as there are shots
  test_shots: int = 5  # support points in the test
  test_queries: int = 100  # query points in the test
  test_shift: float = 0.0  # added to both ends of the range of amplitudes in the test: tasks unlike those of training
  hidden: tuple[int, ...] = (40, 40)  # units of the hidden layers
  activation: str = "relu"  # of those of maml, fomaml and metasgd; tanh starts from usual weights, not near zero
  first_weights: str = "small"  # of these with relu: small (MAML's, 0.01; units die of it) or lecun (flax's own)
  size: str = "tiny"  # of in_context's transformer: tiny, small or standard
  test_inner_steps: int = 1
  inner_rate: float = 0.01
  psi: str = "weights"  # what is contrasted: adapted weights (the paper's), or their change, which is ours
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=70_000, tasks_per_step=25, steps_per_row=500, rows_per_checkpoint=20))
  test: Test = field(default_factory=lambda: Test(episodes=2000))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with the settings in which it differs from MAML."""
  descent = {"inner_steps": 10, "test_inner_steps": 10, "inner_rate": 0.02}
  short = {"steps": 20_000}
  return {
      "maml": {},
      "fomaml": {"first_order": True},
      "anil": {"training": short},
      "metasgd": {"training": short},
      "reptile": {**descent, "training": {**short, "learning_rate": 3e-3}},
      "imaml": {**descent, "strength": 10.0, "training": {"steps": 5000, "learning_rate": 5e-4}},
      "ridge": {"training": short},
      "cnp": {"training": short},
      "in_context": {"contrast": {"weight": 0.02, "distance": "sigmoid_squared"}, "training": {"steps": 6000}}}


def get_config(learner: str = "maml") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def sweeps(config: Config) -> str:
  """Returns the further tests of a comparison: of Wu et al., 2025, Figure 2, and of Finn et al., 2017, Table 2."""
  steps = ",config.test_inner_steps=1,2,5,10" if config.learner in inner_loop.LEARNERS else ""
  return "config.test_shots=2,3,5,10,15,20,config.test_shift=0,0.5,1,1.5,2,2.5,3" + steps


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  inner_loop.check(config)
  check_at_least(0, config, "test_shift")
  check_at_least(1, config, "shots", "queries", "test_shots", "test_queries", "hidden")
  check_read(config, hidden=[name for name in defaults() if name != "in_context"], size=["in_context"], psi=_MOVED,
             activation=_WHOLE, first_weights=_WHOLE)
  descends = config.learner in inner_loop.LEARNERS
  # What models of unseen tasks are learned from: a hundred points, and subsets as large as a support set.
  whole_tasks = sinusoids(5 * config.shots, 5 * config.shots), views.random_subsets(10, config.shots)

  def draw(params, key):
    dense = sinusoids(config.test_shots, 500)
    before, after = _unlearned(tested), {"after adaptation": tested}
    if descends:
      before, once, often = (make_learner(config, count) for count in (0, 1, 10))
      after = {"after 1 step": once, "after 10 steps": often}
    fit = pictures.fit_picture(before, after, params, dense, key, span=(-5.0, 5.0))
    task_map, _ = pictures.map_picture(
        tested, params, *whole_tasks, key, "Models of ten sinusoids, ten subsets each")
    return {"fit.png": fit, "task_map.png": task_map}

  trained, tested = make_learner(config, config.inner_steps), make_learner(config, config.test_inner_steps)
  after = f" after {config.test_inner_steps} step(s)" if descends else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=_make_objective(config, trained),
      optimizer=optax.adam(config.training.learning_rate), loss=losses.squared_error, scores={},
      train_tasks=sinusoids(config.shots, config.queries),
      val_tasks=sinusoids(config.test_shots, config.test_queries),
      test_tasks=sinusoids(config.test_shots, config.test_queries,
                           amplitude=(0.1 + config.test_shift, 5.0 + config.test_shift)),
      training=config.training, test=config.test, seed=config.seed, pictures=draw,
      notes=f"Sinusoids, trained at {config.shots} shots, tested at {config.test_shots} shots{after}, predictions are "
            "inductive; loss is the mean squared error.",
      models=Models(*whole_tasks, settings.make_distance(config.contrast)))


def make_learner(config: Config, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names, with `num_steps` inner steps if it takes any."""
  loss, mlp = losses.squared_error, functools.partial(networks.mlp, config.hidden)
  features = mlp(_FEATURES)
  # MAML's own are so small that the slower learners hardly move from them.
  first = choose("first_weights", config.first_weights, {
      "small": nn.initializers.truncated_normal(0.01), "lecun": nn.initializers.lecun_normal()})
  smooth = choose("activation", config.activation, {"relu": False, "tanh": True})
  own = functools.partial(mlp, 1, product=products.small)
  whole = own(activation=nn.tanh) if smooth or config.learner in ("reptile", "imaml") else own(kernel_init=first)
  makers: Mapping[str, Callable[[], Learner]] = {
      **inner_loop.makers(config, loss, whole, body=features, head=networks.mlp((), 1), num_steps=num_steps),
      "ridge": lambda: learners.ridge(features),
      "cnp": lambda: learners.cnp(features, mlp(1)),
      "in_context": lambda: learners.in_context(_transformer(config))}
  learner = choose("learner", config.learner, makers)()
  if choose("psi", config.psi, {"weights": False, "change": True}):
    learner = learner._replace(represent=lambda params, adapted, key: jax.tree.map(jnp.subtract, adapted, params))
  return learner


def _transformer(config: Config) -> SequenceNetwork:
  layers, heads, width = choose("size", config.size, SIZES)
  # The pictures show it ten times the shots; two tokens a point, and one for the query or dummy input after the last.
  points = max(10 * config.shots, config.shots + config.queries, config.test_shots)
  return transformer(1, max_tokens=2 * points + 1, layers=layers, heads=heads, width=width)


def _make_objective(config: Config, learner: Learner) -> Objective:
  if config.learner == "in_context":  # learns to predict from any number of examples, and is tested on another
    return settings.make_autoregressive(config, functools.partial(read, _transformer(config)), losses.squared_error)
  make = settings.make_reptile if config.learner == "reptile" else settings.make_objective
  return make(config, learner, losses.squared_error, {})


def _unlearned(learner: Learner) -> Learner:
  """Returns the learner as it is before it has seen an example of the task."""
  nothing = lambda examples: examples._replace(mask=examples.mask & False)
  return learner._replace(adapt=lambda params, examples, key: learner.adapt(params, nothing(examples), key))
