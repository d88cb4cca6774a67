"""Model-agnostic meta-learning: the task model is the shared weights after a few steps of an optimizer on the task.

`N` support examples, `Q` queries. Finn et al., 2017, https://arxiv.org/abs/1703.03400. psi is all adapted weights
(Wu et al., 2025, Table 1).
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import optax

from metajax.checks import check_integers
from metajax.descent import descend
from metajax.examples import union
from metajax.learners.identity import identity_embed, identity_represent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.mixed_mode import mixed_gradient
from metajax.learners.padding import ignore_padding
from metajax.network_state import check_stateless
from metajax.per_example import mean_of
from metajax.types import Examples, Learner, Network, Params, PerExample


def adapt(apply, loss: PerExample, params: Params, examples: Examples, *, optimizer: optax.GradientTransformation,
          num_steps: int, first_order: bool = False, first_gradient: Params | None = None,
          unroll: bool = False, mixed_mode: bool = False) -> Params:
  """Returns the weights after `num_steps` steps of the optimizer on the mean loss of the examples.

  Args:
    apply: `(params, inputs [N, ...], mask [N]) -> outputs [N, ...]`.
    loss: `(outputs [N, ...], targets [N, ...]) -> [N]`.
    params: the weights to start from.
    examples: the task's examples.
    optimizer: any optax optimizer. Where a gradient is zero, as after a perfect fit, the meta-gradient is NaN of Adam
      unless `eps_root > 0`, and of `optax.clip_by_global_norm`; `optax.clip` by value is finite there.
    num_steps: at least 0. One step is unrolled; more are scanned with rematerialisation.
    first_order: treat the gradient as a constant when differentiating through the step (FOMAML, section 5.2).
    first_gradient: the gradient of the first step, if it is already known.
    unroll: always unroll the loop, without rematerialisation: faster for small networks, but memory grows with the
      number of steps.
    mixed_mode: differentiate each step's gradient in forward mode (`mixed_gradient`); results differ only by rounding.
  """

  def step(carry, _=None, gradient=None):
    weights, state = carry
    if gradient is None:
      gradient = task_gradient(apply, loss, weights, examples, mixed_mode)
    if first_order:
      gradient = lax.stop_gradient(gradient)
    return descend(optimizer, gradient, state, weights), None

  carry = (params, optimizer.init(params))
  if first_gradient is not None:
    carry, num_steps = step(carry, gradient=first_gradient)[0], num_steps - 1
  # Rematerialising a single step saves nothing, and zero steps need no loop.
  if unroll or num_steps == 0 or num_steps == 1 and first_gradient is None:
    for _ in range(num_steps):
      carry = step(carry)[0]
    return carry[0]
  return lax.scan(jax.checkpoint(step), carry, length=num_steps)[0][0]


def adapt_both(apply, loss: PerExample, params: Params, support: Examples, query: Examples, *,
               optimizer: optax.GradientTransformation, num_steps: int, first_order: bool = False,
               unroll: bool = False, mixed_mode: bool = False) -> tuple[Params, Params]:
  """Returns the weights adapted to the support set, and those adapted to support and query together.

  Both start from the same weights, where the gradient on the union is the mean of the gradients on the two sets,
  weighted by size. The first gradient on the support set is therefore computed only once. Valid for networks whose
  outputs depend only on their own input.

  Args:
    apply, loss, params, optimizer, first_order, unroll, mixed_mode: as in `adapt`.
    support, query: the task's examples.
    num_steps: at least 1.
  """
  gradient = functools.partial(task_gradient, apply, loss, params, mixed_mode=mixed_mode)
  if support.mask.shape == query.mask.shape:  # as one batch
    both = jax.vmap(gradient)(jax.tree.map(lambda *parts: jnp.stack(parts), support, query))
    # Split, because its transpose is a concatenation; the transpose of indexing adds each part to zeros.
    parts = jax.tree.map(lambda leaf: [part[0] for part in lax.split(leaf, (1, 1))], both)
    on_support, on_query = jax.tree.transpose(jax.tree.structure(both), None, parts)
  else:
    on_support, on_query = gradient(support), gradient(query)
  sizes = jnp.sum(support.mask), jnp.sum(query.mask)
  weight = sizes[0] / jnp.maximum(sum(sizes), 1)
  on_both = jax.tree.map(lambda s, q: q + (s - q) * weight.astype(s.dtype), on_support, on_query)

  def continued(examples, first_gradient):
    return adapt(apply, loss, params, examples, optimizer=optimizer, num_steps=num_steps, first_order=first_order,
                 first_gradient=first_gradient, unroll=unroll, mixed_mode=mixed_mode)

  return continued(support, on_support), continued(union(support, query), on_both)


def task_gradient(apply, loss: PerExample, weights: Params, examples: Examples, mixed_mode: bool = False) -> Params:
  """Returns the gradient of the mean loss of the examples; arguments as in `adapt`."""

  check_stateless(weights, "MAML")

  def task_loss(weights, examples):
    return mean_of("the loss of the inner loop", loss, apply(weights, examples.inputs, examples.mask), examples)

  if mixed_mode:
    return mixed_gradient(task_loss, weights, examples)
  return jax.grad(task_loss)(weights, examples)


@jax.custom_jvp
def _first_order(params: Params, adapted: Params) -> Params:
  """Returns the adapted weights, with the identity as their derivative with respect to the shared weights."""
  del params
  return adapted


@_first_order.defjvp
def _first_order_derivative(primals, tangents):
  return primals[1], tangents[0]


@trains_its_networks
def maml(network: Network, loss: PerExample, *, optimizer: optax.GradientTransformation, num_steps: int = 1,
         first_order: bool = False, unroll: bool = False, mixed_mode: bool = False) -> Learner:
  """Returns the MAML learner; with `first_order`, FOMAML. Arguments as in `adapt`.

  FOMAML treats the whole update, from the shared to the adapted weights, as a constant (section 5.2).

  Raises:
    ValueError: if `num_steps` is negative.
  """
  check_integers(num_steps=num_steps)
  if num_steps < 0:
    raise ValueError(f"the number of inner steps must be 0 or more, but it is {num_steps}.")
  start = lax.stop_gradient if first_order else lambda params: params

  def adapt_task(params, examples, key):
    del key  # nothing is drawn
    adapted = adapt(network.apply, loss, start(params), examples, optimizer=optimizer, num_steps=num_steps,
                    unroll=unroll, mixed_mode=mixed_mode)
    return _first_order(params, adapted) if first_order else adapted

  def adapt_task_both(params, support, query, key):
    del key
    both = adapt_both(network.apply, loss, start(params), support, query, optimizer=optimizer, num_steps=num_steps,
                      unroll=unroll, mixed_mode=mixed_mode)
    return tuple(_first_order(params, adapted) for adapted in both) if first_order else both

  def predict(params, adapted, inputs, mask):
    del params  # the adapted weights are complete
    return network.apply(adapted, inputs, mask)

  return ignore_padding(Learner(network.init, identity_embed, adapt_task, predict, identity_represent,
                                  adapt_task_both if network.independent and num_steps else None))
