"""Meta-SGD: MAML with inner learning rates that are learned along with the weights.

Li et al., 2017, https://arxiv.org/abs/1707.09835: one rate per parameter. Antoniou et al., How to train your MAML,
2019, https://arxiv.org/abs/1810.09502, section 4: one rate per layer and step. psi is the adapted weights.
"""

import jax
import jax.numpy as jnp
import optax

from metajax.learners.identity import identity_embed, identity_represent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.maml import adapt, adapt_both
from metajax.learners.padding import ignore_padding
from metajax.types import Learner, Network, PerExample, PyTree


def scale_by_rates(rates: PyTree, per_step: bool) -> optax.GradientTransformation:
  """Returns the optax transformation that multiplies updates by learned rates.

  Args:
    rates: a tree of the updates' structure; leaves have the updates' shapes or, if `per_step`, the shape `[steps]`.
    per_step: use the entry of the current step; later steps use the last entry.
  """

  def init(params):
    del params
    return jnp.int32(0)

  def update(updates, step, params=None):
    del params
    if per_step:
      scaled = jax.tree.map(lambda u, r: u * r[jnp.minimum(step, r.shape[0] - 1)].astype(u.dtype), updates, rates)
    else:
      scaled = jax.tree.map(jnp.multiply, updates, rates)
    return scaled, step + 1

  return optax.GradientTransformation(init, update)


@trains_its_networks
def metasgd(network: Network, loss: PerExample, *, initial_rate: float,
            optimizer: optax.GradientTransformation | None = None, num_steps: int = 1, per_step: bool = False,
            first_order: bool = False) -> Learner:
  """Returns the Meta-SGD learner; its parameters are `{"weights", "rates"}`.

  Args:
    network: all of its weights are adapted.
    loss: `(outputs [N, ...], targets [N, ...]) -> [N]`.
    initial_rate: the initial value of every rate.
    optimizer: any optax optimizer; the rates multiply its updates. By default gradient descent of rate 1.
    num_steps: at least 0, or 1 with rates per step.
    per_step: one rate per layer and step, instead of one per parameter.
    first_order: as in `maml`.

  Raises:
    ValueError: if `num_steps` is negative, or 0 with rates per step.
  """
  if num_steps < (1 if per_step else 0):
    raise ValueError(f"the number of inner steps must be {1 if per_step else 0} or more, but it is {num_steps}.")
  optimizer = optax.sgd(1.0) if optimizer is None else optimizer

  def init(key, inputs):
    weights = network.init(key, inputs)
    shape = lambda leaf: (num_steps,) if per_step else leaf.shape
    return {"weights": weights, "rates": jax.tree.map(lambda w: jnp.full(shape(w), initial_rate, w.dtype), weights)}

  def adapt_task(params, examples, key):
    del key  # nothing is drawn
    learned = optax.chain(optimizer, scale_by_rates(params["rates"], per_step))
    return adapt(network.apply, loss, params["weights"], examples, optimizer=learned, num_steps=num_steps,
                 first_order=first_order)

  def adapt_task_both(params, support, query, key):
    del key
    learned = optax.chain(optimizer, scale_by_rates(params["rates"], per_step))
    return adapt_both(network.apply, loss, params["weights"], support, query, optimizer=learned, num_steps=num_steps,
                      first_order=first_order)

  def predict(params, adapted, inputs, mask):
    del params
    return network.apply(adapted, inputs, mask)

  return ignore_padding(Learner(init, identity_embed, adapt_task, predict, identity_represent,
                                  adapt_task_both if network.independent and num_steps else None))
