"""The defaults of a learner: inputs as they are, and the adapted state as its own representation."""

from jax import lax

from metajax.contrast.distances import difference
from metajax.types import Params, PyTree, Shifted


def identity_embed(params, inputs, mask):
  """Returns the inputs: all the work on an example depends on the task."""
  del params, mask
  return inputs


def identity_represent(params, adapted, key):
  """Returns the adapted state, the paper's psi for MAML (weights), ProtoNet (class means) and CNAPs (FiLM)."""
  del params, key
  return adapted


def _from_constant(weights: Params, adapted: PyTree) -> tuple[PyTree, PyTree]:
  origin = lax.stop_gradient(weights)
  return origin, difference(adapted, origin)


def _by_constant(weights: Params, adapted: PyTree) -> tuple[PyTree, PyTree]:
  return weights, lax.stop_gradient(difference(adapted, weights))


# The adapted weights, measured from the shared ones, which are a constant: a distance does not depend on its origin.
represent_weights = Shifted(identity_represent, _from_constant)

# The same for first order, to which the way from the shared weights is the constant: ConML's gradient with respect to
# the weights of all tasks is then products with the shared ones alone.
represent_weights_first_order = Shifted(identity_represent, _by_constant)
