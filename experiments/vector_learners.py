"""The parts of learners on vectors, for classes and for real targets: fully connected networks."""

from dataclasses import dataclass, field
import functools
from typing import Callable, Mapping

import jax
import jax.numpy as jnp

from experiments import inner_loop, learner_table
from experiments.learner_table import Parts, Row, Settings
from experiments.settings import Contrast, Test, Training, check_at_least, choose
from metajax import losses, networks
from metajax.contrast import distances
from metajax.types import Learner, Network


@dataclass
class Config(inner_loop.Descent):
  """Settings shared by the recipes on vectors."""
  learner: str = "protonet"  # the learner; given with the recipe, after a colon
  seed: int = 0  # of initialisation and training tasks
  hidden: tuple[int, ...] = (128, 64)  # units of the layers, the last of which are the features; (): weighted inputs
  temperature: float = 0.1  # of cosines: of a matching network, or the initial value of the learned one of prototypes
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=2000, tasks_per_step=16, steps_per_row=50, steps_per_dispatch=10))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def make_learner(config: Config, outputs: int, *, classes: bool, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names.

  Args:
    config: the settings of a recipe.
    outputs: the maximum number of classes per task, or the dimension of real targets.
    classes: whether targets are classes.
    num_steps: the number of inner steps, for learners that have them.

  Raises:
    ValueError: for an unknown learner, or one that does not support such targets.
  """
  *hidden, width = config.hidden or (1,)
  shared = functools.partial(networks.mlp, weights="shared")
  features = shared(hidden, width) if config.hidden else weighted()
  rows = {name: row for name, row in learner_table.offered("vectors").items() if classes or not row.classes_only}
  return choose("learner", config.learner, rows).make(Parts(
      config, losses.softmax_cross_entropy if classes else losses.squared_error, num_steps,
      num_classes=outputs if classes else None, network=networks.mlp(config.hidden, outputs), body=features,
      head=networks.mlp((), outputs), features=features, describe=features, decide=shared(config.hidden, outputs),
      similarity=shared((width,), 1), distance=distances.squared_euclidean if config.hidden else _by_products))


def weighted(length: float = 4.0) -> Network:
  """Returns a network without layers: inputs times positive weights, scaled to one learned length.

  At initialisation it preserves all angles. For many sparse inputs, such as counts of n-grams, it learns which inputs
  distinguish classes and keeps all others.
  """

  def init(key, inputs):
    del key  # the initialisation is deterministic
    return {"log_weights": jnp.zeros(inputs.shape[1:], inputs.dtype),
            "log_length": jnp.full((), jnp.log(length), inputs.dtype)}

  def apply(params, inputs, mask):
    del mask
    outputs = inputs * jnp.exp(params["log_weights"])[None, :]
    square = jnp.sum(jnp.square(outputs), axis=-1, keepdims=True)
    return outputs * jax.lax.rsqrt(jnp.maximum(square, 1e-12)) * jnp.exp(params["log_length"])

  return Network(init, apply, independent=True)


def _by_products(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the squared Euclidean distance of two vectors of similar length; under vmap it uses matrix products.

  The gradient of differences of many vectors with 2,048 features crashes XLA:CPU; see docs/decisions/learners.md.
  """
  return jnp.vdot(a, a) - 2 * jnp.vdot(a, b) + jnp.vdot(b, b)


def defaults(own: Callable[[Row], Settings] = lambda row: {}) -> Mapping[str, Settings]:
  """Returns the learners, each with its settings; `own` as in `learner_table.defaults`."""
  return learner_table.defaults("vectors", own)


def check(config: Config) -> Row:
  """Returns the row of the learner; raises ValueError for a setting that is invalid or that it does not read."""
  inner_loop.check(config)
  check_at_least(1, config, "hidden")
  row = learner_table.check(config, "vectors")
  if not config.hidden and not row.layerless:
    layerless = [name for name, each in learner_table.offered("vectors").items() if each.layerless]
    raise ValueError(f"config.hidden=() has no layers, but the learner {config.learner} needs one; give the units of "
                     f"one or more, such as (128, 64). Only {' and '.join(layerless)} need none.")
  return row
