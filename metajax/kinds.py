"""Checks of what kind of object each argument is, by the annotations of a function: a learner, a loss, an optimizer.

`checked` is the one place where public functions refuse an object of another kind, or swapped arguments.
"""

import collections.abc
import functools
import inspect
import numbers
import types
from typing import Any, Callable, Mapping, ParamSpec, TypeVar, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metajax.checks import check_reals
from metajax.types import (Episode, Estimator, FilmNetwork, Learner, Network, Objective, PerExample, PRNGKey,
                           SequenceNetwork, TaskDistribution, Trainable)

P = ParamSpec("P")
R = TypeVar("R")

_NAMED = (Network, FilmNetwork, SequenceNetwork, Learner, TaskDistribution, Objective, Estimator)
_SUCH_AS = types.MappingProxyType({
    Network: "a Network, such as networks.mlp((40, 40), 1)", FilmNetwork: "a FilmNetwork",
    SequenceNetwork: "a SequenceNetwork, such as networks.transformer.transformer(1, max_tokens=41, ...)",
    Learner: "a Learner, such as learners.protonet(network, num_classes=5)",
    TaskDistribution: "a TaskDistribution, such as tasks.sinusoids(shots=5, queries=5)"})
_OPTIMIZER = "an optax optimizer, such as optax.adam(0.001)"
_LOSS = "a function (outputs, targets) -> [Q], such as losses.squared_error"
_SCORES = 'a mapping from names to functions, such as {"accuracy": losses.accuracy}'
_OBJECTIVE = "an objective, such as objectives.conml(learner, loss)"


def checked(function: Callable[P, R]) -> Callable[P, R]:
  """Decorates a function: arguments of another kind than annotated raise ValueError before anything is computed.

  These kinds are checked: the interfaces of `types`, losses, scores, optimizers, keys, functions and real numbers.
  """

  @functools.wraps(function)
  def call(*args: P.args, **options: P.kwargs) -> R:
    check_arguments(function, args, options)
    return function(*args, **options)

  return call


def check_arguments(function: Callable, args: tuple, options: Mapping[str, Any]) -> None:
  """Raises ValueError for the first argument of another kind than its annotation."""
  signature = inspect.signature(function)
  try:
    given = signature.bind(*args, **options).arguments
  except TypeError:  # too many, too few or unknown arguments: Python's own message names them
    return
  for name, value in given.items():
    parameter = signature.parameters[name]
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
      continue
    annotation, optional = _without_none(parameter.annotation)
    if value is None and optional:
      continue
    if name.startswith("key") and annotation is PRNGKey:
      check_key(function.__name__, value)
    elif annotation is float:
      if not (isinstance(value, (jax.Array, np.ndarray)) and jnp.ndim(value) == 0):
        check_reals(**{f"{name} of {function.__name__}": value})
    else:
      wanted = _wanted(annotation, value)
      if wanted:
        raise ValueError(f"{name} of {function.__name__} must be {wanted}, but it is {said(value)}{_hint(value)}.")


def check_key(what: str, key: Any) -> None:
  """Raises ValueError unless `key` is one random key, typed or of the older form."""
  dtype = getattr(key, "dtype", None)
  typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
  if not typed and not (dtype == jnp.uint32 and jnp.ndim(key) == 1):
    raise ValueError(f"the key of {what} must be a random key, such as jax.random.key(0), but it is {said(key)}.")


def check_returned(result: Any) -> None:
  """Raises ValueError unless an objective returned `(loss, metrics)`, all scalars."""
  if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], collections.abc.Mapping)):
    raise ValueError(f"an objective must return a pair (loss, metrics), but it returned {said(result)}; give "
                     'loss, {"loss": loss}.')
  for name, value in {"loss": result[0], **result[1]}.items():
    if not hasattr(value, "shape") and not isinstance(value, numbers.Number) or jnp.shape(value) != ():
      raise ValueError(f"the loss and metrics of an objective must be scalars, but {name} is {said(value)}; average "
                       "over the tasks.")


def said(value: Any) -> str:
  """Returns a short description of an object, for messages."""
  name = type(value).__name__
  if value is None:
    return "None"
  if isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct)):
    return f"an array {value.dtype}{list(value.shape)}"
  if isinstance(value, optax.GradientTransformation):
    return "an optax optimizer"
  if isinstance(value, type):
    return f"the class {value.__name__}"
  if isinstance(value, (str, numbers.Number)) or type(value) in (tuple, list) and len(repr(value)) <= 40:
    return f"the {name} {value!r}" if len(repr(value)) <= 60 else f"a long {name}"
  if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, functools.partial)) or hasattr(
      value, "__wrapped__"):
    return f"the function {getattr(value, '__name__', name)}"
  return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _without_none(annotation: Any) -> tuple[Any, bool]:
  """Returns an annotation without `| None`, and whether None is allowed."""
  parts = get_args(annotation)
  if type(None) not in parts or annotation == Trainable:
    return annotation, False
  rest = [part for part in parts if part is not type(None)]
  return (rest[0] if len(rest) == 1 else Any), True


def _wanted(annotation: Any, value: Any) -> str:
  """Returns what a value should have been, or nothing if it is right."""
  if annotation == Trainable:
    return "" if isinstance(value, (Objective, Estimator)) or _takes(value, 3) else _OBJECTIVE
  if annotation in _SUCH_AS:
    return "" if isinstance(value, annotation) else _SUCH_AS[annotation]
  if annotation is optax.GradientTransformation:
    right = callable(getattr(value, "update", None)) and callable(getattr(value, "init", None))
    return "" if right else _OPTIMIZER
  if annotation == PerExample:
    return "" if _takes(value, 2) else _LOSS
  if annotation == Mapping[str, PerExample]:
    right = isinstance(value, collections.abc.Mapping) and all(_takes(each, 2) for each in value.values())
    return "" if right else _SCORES
  if get_origin(annotation) is collections.abc.Callable:
    return "" if callable(value) else "a function"
  return ""


def _takes(value: Any, count: int) -> bool:
  """Returns whether a value is a function that can be called with `count` arguments."""
  if not callable(value) or isinstance(value, (type, *_NAMED)):
    return False
  try:
    inspect.signature(value).bind(*range(count))
  except TypeError:
    return False
  except ValueError:  # some functions have no signature
    return True
  return True


def _hint(value: Any) -> str:
  if isinstance(value, Episode):
    return "; TaskDistribution(lambda data, key: episode) always gives one episode"
  if hasattr(value, "params") and hasattr(value, "state"):
    return "; its parameters are trained.params"
  return ""
