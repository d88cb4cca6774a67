"""The mean of a loss or score over the examples that are not padding, with a check that it is one number per example.
"""

import jax
import jax.numpy as jnp

from metajax.examples import masked_mean
from metajax.types import Array, Examples, PerExample


def mean_of(name: str, measure: PerExample, outputs: Array, examples: Examples) -> Array:
  """Returns the mean of a loss or score of `outputs [Q, ...]` over the examples that are not padding.

  Counts and booleans, as of `outputs.argmax(axis=1) == targets`, are averaged as reals.

  Raises:
    ValueError: if there is not one output per example, or the measure does not return `[Q]`, or does not treat each
      example by itself. Only shapes are looked at, so this costs nothing at run time.
  """
  _check_outputs(outputs, examples.targets)
  values = measure(outputs, examples.targets)
  shape, count = list(jnp.shape(values)), list(examples.mask.shape)
  if shape != count:
    advice = "average over the trailing axes" if shape[:1] == count else "do not average over the examples"
    if len(shape) == 2 and shape == 2 * count:
      advice = (f"outputs {list(jnp.shape(outputs))} are broadcast against targets "
                f"{list(jnp.shape(examples.targets))}: give both the same shape")
    raise ValueError(f"{name} must return one number per query, [Q]={count}, but returned {shape}; {advice}.")
  _check_pairs(name, measure, outputs, examples.targets)
  if not jnp.issubdtype(jnp.result_type(values), jnp.floating):
    values = values.astype(jnp.result_type(float))
  return masked_mean(values, examples.mask)


def _check_outputs(outputs: Array, targets: Array) -> None:
  given = jnp.shape(outputs) if hasattr(outputs, "shape") else type(outputs).__name__
  if not isinstance(given, tuple) or given[:1] != targets.shape[:1]:
    raise ValueError(f"there must be one output per query, an array [Q, ...] with [Q]={list(targets.shape[:1])}, but "
                     f"the outputs are {list(given) if isinstance(given, tuple) else given}; keep the leading axis.")


def _check_pairs(name: str, measure: PerExample, outputs: Array, targets: Array) -> None:
  """Raises ValueError if a measure pairs every output with every target, as when [Q] is broadcast against [Q, 1].

  A measure that takes each example by itself refuses three outputs for two targets; one that pairs them does not.
  """
  shapes = outputs.shape, targets.shape
  if (*shapes[0], 1) != shapes[1] and (*shapes[1], 1) != shapes[0]:
    return
  rows = [jax.ShapeDtypeStruct((number, *each.shape[1:]), each.dtype) for number, each in ((3, outputs), (2, targets))]
  try:
    jax.eval_shape(measure, *rows)
  except Exception:  # of any type: the measure refuses them
    return
  raise ValueError(f"{name} pairs every output with every target, because outputs {list(shapes[0])} are broadcast "
                   f"against targets {list(shapes[1])}; give both the same shape.")
