"""The defaults of a learner: inputs as they are, and the adapted state as its own representation."""

from jax import lax

from metajax.distances import difference
from metajax.types import Params, PyTree


def identity_embed(params, inputs, mask):
  """Returns the inputs: all the work on an example depends on the task."""
  del params, mask
  return inputs


def identity_represent(params, adapted, key):
  """Returns the adapted state, the paper's psi for MAML (weights), ProtoNet (class means) and CNAPs (FiLM)."""
  del params, key
  return adapted


def shift_from_constant(weights: Params, adapted: PyTree) -> tuple[PyTree, PyTree]:
  """Returns the shared weights as a constant, and the way from them to those of a task: `Learner.shift`."""
  origin = lax.stop_gradient(weights)
  return origin, difference(adapted, origin)


def constant_shift(weights: Params, adapted: PyTree) -> tuple[PyTree, PyTree]:
  """Returns the shared weights, and the way from them to those of a task as a constant: `Learner.shift`.

  For learners of first order, to whom the way is a constant; of ConML's gradient with respect to the weights of every
  task nothing but products with the shared ones is then left.
  """
  return weights, lax.stop_gradient(difference(adapted, weights))
