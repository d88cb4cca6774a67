"""Checks of arguments, with one-sentence error messages."""

from importlib import util
import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metajax.types import PyTree


def check_integers(**values: Any) -> None:
  """Raises ValueError for the first of the named values that is not an integer, such as `True`, `2.0` or `"2"`."""
  for name, value in values.items():
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
      raise ValueError(f"{name} must be an integer, but it is {value!r}; give a whole number.")


def check_reals(**values: Any) -> None:
  """Raises ValueError for the first of the named values that is not a finite real number."""
  for name, value in values.items():
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real) or not np.isfinite(float(value)):
      raise ValueError(f"{name} must be a finite number, but it is {value!r}.")


def check_real_arrays(what: str, tree: PyTree) -> None:
  """Raises ValueError if a leaf is not an array of integers or reals (booleans and complex numbers are refused)."""
  for leaf in jax.tree.leaves(tree):
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
      raise ValueError(f"{what} must be arrays of real numbers, but one is of type {dtype}.")


def check_installed(extra: str, *modules: str) -> None:
  """Raises ImportError, with the command that installs it, for the first of the modules that is not installed."""
  for module in modules:
    if util.find_spec(module) is None:
      raise ImportError(f"{module} is not installed; it comes with an extra of metajax: "
                        f"pip install 'metajax[{extra}]'.", name=module)


def check_name(what: str, name: str) -> None:
  """Raises ValueError for a file name that is not UTF-8 text, and so cannot be printed, or that contains a NUL."""
  try:
    text = "\0" not in name.encode().decode()
  except UnicodeEncodeError:  # surrogate escapes: bytes that the system could not decode
    text = False
  if not text:
    raise ValueError(f"the name of the {what} {name!r} is not UTF-8 text; give it another.")
