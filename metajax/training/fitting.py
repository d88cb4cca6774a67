"""Checks that data fit a learner and its parameters: labels in range, finite values, inputs of the trained size."""

from typing import Any, Callable, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from metajax.types import Array, Episode, Examples, Learner, Params, PyTree

T = TypeVar("T")


def as_array(what: str, values: Any) -> Array:
  """Returns an array of numbers from an array, a number, or nested lists of numbers.

  Raises:
    ValueError: for words, other objects, and lists of unequal length.
  """
  if isinstance(values, jax.Array):
    return values
  try:
    array = np.asarray(values)
  except ValueError as error:
    raise ValueError(f"{what} must be an array, or lists of equal length, but cannot be joined: {error}.") from None
  if array.dtype.kind in "USO":
    raise ValueError(f"{what} must be numbers, but they are of type {array.dtype}; number the classes from 0, and give "
                     "one array.")
  return jnp.asarray(array)


def as_inputs(inputs: PyTree) -> PyTree:
  """Returns inputs `[N, ...]` as arrays; a list of numbers, of lists or of arrays is one array, not a pytree."""
  if isinstance(inputs, list):
    return as_array("inputs", inputs)
  return jax.tree.map(lambda leaf: as_array("inputs", leaf), inputs)


def check_finite(what: str, tree: PyTree) -> None:
  """Raises ValueError if a value is NaN or infinite; values that are only traced are not looked at."""
  for leaf in jax.tree.leaves(tree):
    if not isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating):
      bad = np.flatnonzero(~np.isfinite(np.asarray(leaf, np.float32)).reshape(len(leaf), -1).all(axis=1))
      if bad.size:
        raise ValueError(f"{what} must be finite, but {bad.size} of {len(leaf)} examples hold NaN or an infinite "
                         f"value, the first at index {bad[0]}; leave these out or fill them in.")


def check_labels(targets: Array, outputs: Any, mask: Array | None = None, *, what: str = "labels") -> None:
  """Raises ValueError if integer targets `[N]` are not classes of outputs `[Q, C]`; other targets are not looked at."""
  if isinstance(targets, jax.core.Tracer) or not jnp.issubdtype(targets.dtype, jnp.integer):
    return
  if jnp.ndim(targets) != 1 or len(outputs.shape) != 2:
    return
  labels, count = np.asarray(targets)[... if mask is None else np.asarray(mask)], outputs.shape[1]
  wrong = labels[(labels < 0) | (labels >= count)]
  if wrong.size:
    raise ValueError(f"{what} must be in [0, {count}), as the learner has {count} classes, but one is {wrong[0]}; "
                     "number the classes of a task from 0, or give the learner more classes (num_classes, or outputs "
                     "of its network).")


def check_task(learner: Learner, params: Params, episode: Episode) -> None:
  """Raises ValueError if a task's labels are out of the range of a learner; traced only, with the labels as they are.

  A task that the learner cannot be traced with is left to the training program, which says more.
  """
  try:
    outputs = jax.eval_shape(lambda: outputs_of(learner, params, episode.support, episode.query.inputs))
  except Exception:  # of any type; it is raised again, with a better place, when the objective is traced
    return
  for part in episode:
    check_labels(part.targets, outputs, part.mask)


def with_trained_size(learner: Learner, params: Params, inputs: PyTree, action: Callable[[], T]) -> T:
  """Returns the result of an action on inputs `[N, ...]`; if it fails because they have another size, says so.

  Raises:
    ValueError: if the learner's parameters for these inputs would have other shapes than `params`.
  """
  try:
    return action()
  except Exception as error:  # of many types, such as flax's own
    difference = _difference(learner, params, inputs)
    if not difference:
      raise
    given = " and ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(inputs))
    raise ValueError(f"inputs {given} do not fit the parameters, which are of other inputs: {difference}; give inputs "
                     "of the shape of the training tasks, and the parameters of this learner.") from error


def as_trained(learner: Learner, params: Params, inputs: PyTree) -> PyTree:
  """Returns inputs, with integers as reals unless the learner's parameters are made for integers, as embeddings are."""
  if not any(jnp.issubdtype(leaf.dtype, jnp.integer) or leaf.dtype == bool for leaf in jax.tree.leaves(inputs)):
    return inputs
  if not _difference(learner, params, inputs, dtypes=True):
    return inputs
  return jax.tree.map(as_reals, inputs)


def as_reals(array: Array) -> Array:
  """Returns an array of reals, from integers or booleans too."""
  return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def _difference(learner: Learner, params: Params, inputs: PyTree, dtypes: bool = False) -> str:
  """Returns the first difference between given parameters and those of a learner for some inputs, or nothing."""
  try:
    own = jax.eval_shape(learner.init, jax.random.key(0), inputs)
  except Exception as error:  # of any type: there are no parameters for such inputs
    return f"it has none for them ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
  ours, theirs = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (own, params))
  if list(ours) != list(theirs):
    return "their structure is another one"
  for path, leaf in ours.items():
    given = theirs[path]
    if jnp.shape(given) != leaf.shape or dtypes and jnp.result_type(given) != leaf.dtype:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      return f"{name} would be {leaf.dtype}{list(leaf.shape)}, but is {jnp.result_type(given)}{list(jnp.shape(given))}"
  return ""


def outputs_of(learner: Learner, params: Params, support: Examples, queries: PyTree) -> Array:
  """Returns the predictions `[Q, ...]` of a learner for queries `[Q, ...]`, from a support set."""
  ones = jnp.ones(jax.tree.leaves(queries)[0].shape[:1], bool)
  features = learner.embed(params, support.inputs, support.mask)
  adapted = learner.adapt(params, support._replace(inputs=features), jax.random.key(0))
  return learner.predict(params, adapted, learner.embed(params, queries, ones), ones)
