"""The four function classes of Garg et al., sampled on the device, with their curriculum.

Inputs are standard normal in `d` dimensions. Garg et al., What Can Transformers Learn In-Context?, 2022,
https://arxiv.org/abs/2208.01066, section 2 and appendix A. A prompt's last point is the query set, the others the
support set.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.types import Array, Episode, PRNGKey, TaskDistribution

# (key, inputs [n, d], active [d] bool) -> targets [n] of one function drawn from the class
FunctionClass = Callable[[PRNGKey, Array, Array], Array]


class Extent(NamedTuple):
  """How much of a prompt is in use; the curriculum increases it."""
  dimensions: Array  # scalar int32, the number of coordinates in use; the others are zero
  points: Array  # scalar int32, the number of points in use; the others are padding


class Curriculum(NamedTuple):
  """Linear growth from `start` to the whole prompt, by `increase` every `interval` steps."""
  start: Extent
  increase: Extent
  interval: int = 2000


def linear(key: PRNGKey, inputs: Array, active: Array) -> Array:
  """Returns `w . x` with `w` standard normal."""
  del active  # unused coordinates are zero in the inputs
  return inputs @ jax.random.normal(key, inputs.shape[1:])


def sparse_linear(nonzero: int = 3) -> FunctionClass:
  """Returns the class of linear functions with `nonzero` nonzero coefficients among the active coordinates."""

  def draw(key, inputs, active):
    key_weights, key_choice = jax.random.split(key)
    ranks = jnp.where(active, jax.random.uniform(key_choice, active.shape), 2.0)
    chosen = jnp.argsort(jnp.argsort(ranks)) < nonzero
    return inputs @ jnp.where(chosen, jax.random.normal(key_weights, active.shape), 0.0)

  return draw


def decision_tree(depth: int = 4) -> FunctionClass:
  """Returns the class of full binary trees: nodes test the sign of a random coordinate, leaves are standard normal."""

  def draw(key, inputs, active):
    key_nodes, key_leaves = jax.random.split(key)
    logits = jnp.where(active, 0.0, -jnp.inf)
    coordinates = jax.random.categorical(key_nodes, logits, shape=(2**depth - 1,))
    leaves = jax.random.normal(key_leaves, (2**depth,))

    def evaluate(point):
      node = jnp.int32(0)
      for _ in range(depth):
        node = 2 * node + 1 + (point[coordinates[node]] > 0).astype(jnp.int32)
      return leaves[node - (2**depth - 1)]

    return jax.vmap(evaluate)(inputs)

  return draw


def relu_network(hidden: int = 100) -> FunctionClass:
  """Returns the class of two-layer ReLU networks with standard normal weights, scaled by `sqrt(2 / hidden)`."""

  def draw(key, inputs, active):
    del active
    key_first, key_second = jax.random.split(key)
    first = jax.random.normal(key_first, (inputs.shape[1], hidden))
    return jax.nn.relu(inputs @ first) @ jax.random.normal(key_second, (hidden,)) * (2 / hidden)**0.5

  return draw


def function_tasks(function: FunctionClass, *, dimensions: int, points: int, curriculum: Curriculum | None = None
                   ) -> TaskDistribution:
  """Returns the distribution of prompts of `points` examples with inputs `[., dimensions]` and targets `[., 1]`.

  The support set is the first `points - 1` of them, the query set the last.

  Args:
    function: one of the classes above.
    dimensions: `d`, at least 1.
    points: at least 2.
    curriculum: grow to the full size during training; by default prompts have full size from the start. Unused points
      are padding. Until the prompt has full size, its last used point is a support example.

  Raises:
    ValueError: if there are too few dimensions or points.
  """
  check_integers(dimensions=dimensions, points=points)
  if dimensions < 1 or points < 2:
    raise ValueError(f"a prompt needs at least 1 dimension and 2 points, but got {dimensions} and {points}.")
  whole = Extent(jnp.int32(dimensions), jnp.int32(points))

  def sample(extent, key):
    key_inputs, key_function = jax.random.split(key)
    active = jnp.arange(dimensions) < extent.dimensions
    inputs = jnp.where(active[None, :], jax.random.normal(key_inputs, (points, dimensions)), 0.0)
    targets = function(key_function, inputs, active)[:, None]
    used = jnp.arange(points) < extent.points
    return Episode(examples(inputs[:-1], targets[:-1], used[:-1]), examples(inputs[-1:], targets[-1:], used[-1:]))

  if curriculum is None:
    return TaskDistribution(sample, whole)

  def at_step(data, step):
    rounds = step // curriculum.interval
    return jax.tree.map(lambda full, start, more: jnp.minimum(full, start + more * rounds), data, curriculum.start,
                        curriculum.increase)

  return TaskDistribution(sample, whole, at_step)
