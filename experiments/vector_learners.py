"""The learners on vectors by name, for classes and for real targets: fully connected networks."""

from dataclasses import dataclass, field
import functools
from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp

from experiments import inner_loop
from experiments.settings import Contrast, Test, Training, check_at_least, choose
from metajax import learners, losses, networks
from metajax.contrast import distances
from metajax.types import Learner, Network

METRIC = ("protonet", "protonet_cosine", "matchingnet", "relationnet")  # for classes alone
# Those that tell any number of classes apart, so that training tasks may have more of them: no weight counts classes.
ANY_WAYS = (*METRIC, "ridge")
WEIGHING = ("ridge", "protonet")  # those that can do without layers
WARM = ("protonet_cosine", "matchingnet")  # those with a temperature


@dataclass
class Config(inner_loop.Descent):
  """What the recipes on vectors share."""
  learner: str = "protonet"  # which; given with the recipe, after a colon
  seed: int = 0  # of initialisation and training tasks
  hidden: tuple[int, ...] = (128, 64)  # units of the layers, the last the features; () weighs inputs: ridge, protonet
  temperature: float = 0.1  # of matchingnet's cosines; protonet_cosine's, which is learned, starts here
  conml: bool = True  # whether the contrastive term is on
  contrast: Contrast = field(default_factory=Contrast)
  training: Training = field(default_factory=lambda: Training(
      steps=2000, tasks_per_step=16, steps_per_row=50, steps_per_dispatch=10))
  test: Test = field(default_factory=lambda: Test(episodes=600))


def make_learner(config: Config, outputs: int, *, classes: bool, num_steps: int) -> Learner:
  """Returns the learner that `config.learner` names.

  Args:
    config: a recipe's.
    outputs: the most classes of a task, or the real numbers that a target has.
    classes: whether targets are classes.
    num_steps: inner steps, for learners that take them.

  Raises:
    ValueError: for a learner that is not known, or not for such targets.
  """
  loss = losses.softmax_cross_entropy if classes else losses.squared_error
  *hidden, width = config.hidden or (1,)
  features, ways = networks.mlp(hidden, width) if config.hidden else weighted(), outputs if classes else None
  makers: dict[str, Callable[[], Learner]] = {
      **inner_loop.makers(config, loss, networks.mlp(config.hidden, outputs), body=features,
                          head=networks.mlp((), outputs), num_steps=num_steps),
      "ridge": lambda: learners.ridge(features, num_classes=ways),
      "cnp": lambda: learners.cnp(features, networks.mlp(config.hidden, outputs), num_classes=ways)}
  if classes:
    protonet = functools.partial(learners.protonet, features, num_classes=outputs,
                                 distance=distances.squared_euclidean if config.hidden else _by_products)
    makers |= {
        "protonet": protonet,
        "protonet_cosine": lambda: protonet(distance=distances.cosine, learned_temperature=config.temperature),
        "matchingnet": lambda: learners.matchingnet(features, num_classes=outputs, temperature=config.temperature),
        "relationnet": lambda: learners.relationnet(features, networks.mlp((width,), 1), num_classes=outputs)}
  return choose("learner", config.learner, makers)()


def weighted(length: float = 4.0) -> Network:
  """Returns a network without layers: each input times a positive weight, the whole of one learned length.

  At its start it changes no angle. With inputs many and sparse, as counts of n-grams are, it learns which of them tell
  classes apart, and forgets no other.
  """

  def init(key, inputs):
    del key  # it starts the same always
    return {"log_weights": jnp.zeros(inputs.shape[1:], inputs.dtype),
            "log_length": jnp.full((), jnp.log(length), inputs.dtype)}

  def apply(params, inputs, mask):
    del mask
    outputs = inputs * jnp.exp(params["log_weights"])[None, :]
    square = jnp.sum(jnp.square(outputs), axis=-1, keepdims=True)
    return outputs * jax.lax.rsqrt(jnp.maximum(square, 1e-12)) * jnp.exp(params["log_length"])

  return Network(init, apply, independent=True)


def _by_products(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the squared Euclidean distance of two vectors of about one length, by matrix products where mapped.

  The gradient of the differences of many vectors of 2,048 features crashes XLA:CPU; WORKSPACE.md has the condition.
  """
  return jnp.vdot(a, a) - 2 * jnp.vdot(a, b) + jnp.vdot(b, b)


def defaults(classes: bool = True) -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners, each with the settings in which it differs from the others."""
  names = (*inner_loop.LEARNERS, "ridge", "cnp", *(METRIC if classes else ()))
  descent = {"inner_steps": 5, "test_inner_steps": 5}
  own: Mapping[str, Mapping[str, Any]] = {
      "fomaml": {"first_order": True}, "reptile": {**descent, "first_order": True}, "imaml": descent}
  return {name: own.get(name, {}) for name in names}


def check(config: Config) -> None:
  """Raises ValueError for a setting of a learner that cannot be, or that `config.learner` does not read."""
  inner_loop.check(config)
  check_at_least(1, config, "hidden")
  if not config.hidden and config.learner not in WEIGHING:
    raise ValueError(f"config.hidden=() has no layer, which the learner {config.learner} needs; give the units of one "
                     f"or more, such as (128, 64). {' and '.join(WEIGHING)} alone do without.")
