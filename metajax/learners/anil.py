"""Almost no inner loop: only the head is adapted, on features that the body computes once per example.

Raghu et al., Rapid Learning or Feature Reuse?, 2020, https://arxiv.org/abs/1909.09157. psi is the adapted head.
"""

import jax
import optax

from metajax.learners.identity import identity_represent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.maml import adapt
from metajax.learners.padding import ignore_padding
from metajax.types import Learner, Network, PerExample


@trains_its_networks
def anil(body: Network, head: Network, loss: PerExample, *, optimizer: optax.GradientTransformation,
         num_steps: int = 1, first_order: bool = False) -> Learner:
  """Returns the ANIL learner.

  Args:
    body: inputs `[N, ...]` to features `[N, D]`, shared by all tasks.
    head: features to outputs; its weights are adapted to each task.
    loss, optimizer, num_steps, first_order: the inner loop, as in `maml`.

  Raises:
    ValueError: if `num_steps` is negative.
  """
  if num_steps < 0:
    raise ValueError(f"the number of inner steps must be 0 or more, but it is {num_steps}.")

  def init(key, inputs):
    key_body, key_head = jax.random.split(key)
    weights = body.init(key_body, inputs)
    mask = jax.numpy.ones(jax.tree.leaves(inputs)[0].shape[:1], bool)
    features = body.apply(weights, inputs, mask)
    return {"body": weights, "head": head.init(key_head, features)}

  def embed(params, inputs, mask):
    return body.apply(params["body"], inputs, mask)

  def adapt_task(params, examples, key):
    del key  # nothing is drawn
    return adapt(head.apply, loss, params["head"], examples, optimizer=optimizer, num_steps=num_steps,
                 first_order=first_order)

  def predict(params, adapted, features, mask):
    del params
    return head.apply(adapted, features, mask)

  return ignore_padding(Learner(init, embed, adapt_task, predict, identity_represent))
