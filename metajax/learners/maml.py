"""Model-agnostic meta-learning: a task model is the shared weights after a few steps of an optimizer on the task.

`N` support examples, `Q` queries. Finn et al., 2017, https://arxiv.org/abs/1703.03400. psi is the adapted weights
themselves, all of them (Wu et al., 2025, Table 1).
"""

import jax
from jax import lax
import optax

from metajax.descent import descend
from metajax.examples import masked_mean
from metajax.learners.identity import identity_embed, identity_represent
from metajax.types import Examples, Learner, Network, Params, PerExample


def adapt(apply, loss: PerExample, params: Params, examples: Examples, *, optimizer: optax.GradientTransformation,
          num_steps: int, first_order: bool = False) -> Params:
  """Returns the weights after `num_steps` steps down the mean loss of the examples.

  Args:
    apply: `(params, inputs [N, ...], mask [N]) -> outputs [N, ...]`.
    loss: `(outputs [N, ...], targets [N, ...]) -> [N]`.
    params: the weights to start from.
    examples: the task's examples.
    optimizer: any optax optimizer. Adam needs `eps_root > 0`, or its meta-gradient is NaN where a gradient is zero.
    num_steps: at least 0; the loop is unrolled up to one step, scanned with rematerialisation above.
    first_order: take the gradient as a constant when differentiating through the step (FOMAML, section 5.2).
  """

  def task_loss(weights):
    return masked_mean(loss(apply(weights, examples.inputs, examples.mask), examples.targets), examples.mask)

  def step(carry, _):
    weights, state = carry
    gradient = jax.grad(task_loss)(weights)
    if first_order:
      gradient = lax.stop_gradient(gradient)
    return descend(optimizer, gradient, state, weights), None

  carry = (params, optimizer.init(params))
  if num_steps == 1:
    # One step has nothing to save by recomputing it.
    return step(carry, None)[0][0]
  return lax.scan(jax.checkpoint(step), carry, length=num_steps)[0][0]


def maml(network: Network, loss: PerExample, *, optimizer: optax.GradientTransformation, num_steps: int = 1,
         first_order: bool = False) -> Learner:
  """Returns the MAML learner; with `first_order`, FOMAML. Arguments as in `adapt`.

  Raises:
    ValueError: if `num_steps` is negative.
  """
  if num_steps < 0:
    raise ValueError(f"the number of inner steps must be 0 or more, but it is {num_steps}.")

  def adapt_task(params, examples, key):
    del key  # nothing is drawn
    return adapt(network.apply, loss, params, examples, optimizer=optimizer, num_steps=num_steps,
                 first_order=first_order)

  def predict(params, adapted, inputs, mask):
    del params  # all is in the adapted weights
    return network.apply(adapted, inputs, mask)

  return Learner(network.init, identity_embed, adapt_task, predict, identity_represent)
