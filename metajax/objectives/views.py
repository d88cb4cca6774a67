"""Views of a task: the subsets kappa of its examples, whose models ConML aligns with the model of the whole task.

A strategy maps `(key, support, query)` of one task, with `N` and `Q` examples, to `K` subsets, stacked as one
`Examples` with leading axes `[K, M]`. Wu et al., 2025, section 3 (pi_kappa).
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.checks import check_integers
from metajax.examples import take, union
from metajax.types import Array, Examples, PRNGKey

Views = Callable[[PRNGKey, Examples, Examples], Examples]


def random_subsets(num_views: int, size: int) -> Views:
  """Returns a strategy that draws `num_views` subsets of `size` examples each, without replacement.

  They are drawn uniformly from the union of support and query. If a task has fewer than `size` examples, a subset holds
  all of them and padding.

  Raises:
    ValueError: if there is no view or a view has no example; when called, if the union is smaller than a view.
  """
  check_integers(num_views=num_views, size=size)
  if num_views < 1 or size < 1:
    raise ValueError(f"random subsets need at least 1 view of at least 1 example, but got {num_views} of {size}.")

  def views(key, support, query):
    whole = union(support, query)
    _check_fits(size, whole)
    return jax.vmap(lambda key: take(whole, _shuffled(key, whole.mask)[:size]))(jax.random.split(key, num_views))

  return views


def balanced_subsets(num_views: int, num_classes: int, shots: int) -> Views:
  """Returns a strategy that draws `num_views` subsets with `shots` examples of each of `num_classes` classes.

  They are drawn from the union of support and query, without replacement. If a class has fewer than `shots` examples,
  the rest is padding.

  Raises:
    ValueError: if there is no view, class or shot; when called, if the union is smaller than a view.
  """
  check_integers(num_views=num_views, num_classes=num_classes, shots=shots)
  if min(num_views, num_classes, shots) < 1:
    raise ValueError("balanced subsets need at least 1 view, 1 class and 1 shot, but got "
                     f"{num_views}, {num_classes} and {shots}.")

  def views(key, support, query):
    whole = union(support, query)
    _check_fits(num_classes * shots, whole)

    def of_class(key, label):
      belongs = whole.mask & (whole.targets == label)
      chosen = _shuffled(key, belongs)[:shots]
      return take(whole._replace(mask=belongs), chosen)

    def subset(key):
      parts = jax.vmap(of_class)(jax.random.split(key, num_classes), jnp.arange(num_classes))
      return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), parts)

    return jax.vmap(subset)(jax.random.split(key, num_views))

  return views


def leave_one_out(num_views: int, num_classes: int) -> Views:
  """Returns a strategy whose views are the whole task minus one random example of each of `num_classes` classes.

  For classification, with integer targets.

  Raises:
    ValueError: if there is no view or no class.
  """
  check_integers(num_views=num_views, num_classes=num_classes)
  if min(num_views, num_classes) < 1:
    raise ValueError(f"leave_one_out needs at least 1 view and 1 class, but got {num_views} and {num_classes}.")

  def views(key, support, query):
    whole = union(support, query)
    labels = jnp.arange(num_classes, dtype=whole.targets.dtype)

    def view(key):
      first_of = lambda key, label: _shuffled(key, whole.mask & (whole.targets == label))[0]
      drawn = jax.vmap(first_of)(jax.random.split(key, num_classes), labels)
      # For an absent class, the draw hits an example of another class, which must stay.
      present = jnp.any(whole.mask[None, :] & (whole.targets[None, :] == labels[:, None]), axis=1)
      dropped = jnp.any((jnp.arange(whole.mask.shape[0])[None, :] == drawn[:, None]) & present[:, None], axis=0)
      return whole._replace(mask=whole.mask & ~dropped)

    return jax.vmap(view)(jax.random.split(key, num_views))

  return views


def halves() -> Views:
  """Returns a strategy of two views: the shuffled union of support and query cut in half (an odd example is left out).
  """

  def views(key, support, query):
    whole = union(support, query)
    half = whole.mask.shape[0] // 2
    order = _shuffled(key, whole.mask)
    # The halves are interleaved, so that padding, which comes last, is split evenly between them.
    return take(whole, order[:2 * half].reshape(half, 2).T)

  return views


def _shuffled(key: PRNGKey, mask: Array) -> Array:
  """Returns a random order of the examples with all padding last."""
  ranks = jax.random.uniform(key, mask.shape)
  return jnp.argsort(jnp.where(mask, ranks, jnp.full_like(ranks, 2.0)))


def _check_fits(size: int, whole: Examples) -> None:
  if size > whole.mask.shape[0]:
    raise ValueError(f"a view of {size} examples does not fit a task of {whole.mask.shape[0]} (support and query "
                     "together); ask for fewer.")
