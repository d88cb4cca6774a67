"""Ridge regression on shared features: the task model has a closed form (R2-D2).

Bertinetto et al., Meta-learning with Differentiable Closed-form Solvers, 2019, https://arxiv.org/abs/1805.08136,
eqs. 4-6: `W = X^T (X X^T + lambda I)^-1 Y`, with lambda, and the scale and bias of the predictions, learned. The
`N x N` system is solved by Cholesky. psi is `W`.
"""

import jax.numpy as jnp

from metajax.learners import positive_definite
from metajax.learners.class_means import check_num_classes, one_hot
from metajax.learners.identity import identity_represent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.types import Array, Examples, Learner, Network


def solve(features: Array, targets: Array, mask: Array, penalty: Array) -> Array:
  """Returns the weights `[D, outputs]` that minimise `|X W - Y|^2 + penalty |W|^2` over the unmasked examples.

  Args:
    features: `[N, D]`.
    targets: `[N, outputs]`.
    mask: `[N]`.
    penalty: positive scalar.
  """
  dtype = features.dtype
  wide = jnp.float64 if dtype == jnp.float64 else jnp.float32  # Cholesky does not support half precision
  features = jnp.where(mask[:, None], features, jnp.zeros_like(features)).astype(wide)
  targets = jnp.where(mask[:, None], targets, jnp.zeros_like(targets)).astype(wide)
  # Rows of padding are zero: they add only a diagonal entry to the system, and nothing to the weights.
  gram = features @ features.T + penalty.astype(wide) * jnp.eye(features.shape[0], dtype=wide)
  return (features.T @ positive_definite.solve(gram, targets)).astype(dtype)


@trains_its_networks
def ridge(network: Network, *, num_classes: int | None = None, initial_penalty: float = 1.0) -> Learner:
  """Returns the ridge learner.

  Args:
    network: inputs to features `[N, D]`, shared by all tasks; a constant feature is appended.
    num_classes: `C`, for classification by regression on one-hot labels; None for regression on targets `[N, outputs]`.
    initial_penalty: initial lambda, positive.

  Raises:
    ValueError: for fewer than 2 classes, or a penalty that is not positive.
  """
  if num_classes is not None:
    check_num_classes(num_classes)
  if initial_penalty <= 0:
    raise ValueError(f"the ridge penalty must be positive, but it is {initial_penalty}.")

  def init(key, inputs):
    zero = jnp.zeros(())
    # Logarithms are learned, so that the penalty and the scale stay positive.
    return {"network": network.init(key, inputs), "log_penalty": zero + jnp.log(initial_penalty),
            "log_scale": zero, "bias": zero}

  def embed(params, inputs, mask):
    features = network.apply(params["network"], inputs, mask)
    return jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)

  def adapt(params, examples: Examples, key):
    del key
    dtype = examples.inputs.dtype
    targets = examples.targets if num_classes is None else one_hot(examples, num_classes, dtype)
    return solve(examples.inputs, targets, examples.mask, jnp.exp(params["log_penalty"]))

  def predict(params, weights, features, mask):
    del mask
    dtype = features.dtype
    return features @ weights * jnp.exp(params["log_scale"]).astype(dtype) + params["bias"].astype(dtype)

  return ignore_padding(Learner(init, embed, adapt, predict, identity_represent))
