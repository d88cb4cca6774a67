"""Functions with one form per platform, chosen when a program is lowered."""

from typing import Any, Callable

from jax import lax


def per_platform(plain: Callable, *, cpu: Callable) -> Callable:
  """Returns the function that is `cpu(*arguments)` in a program lowered for CPU and `plain(*arguments)` elsewhere.

  Both must return the same shapes and types. A program compiled for a TPU on a CPU machine gets `plain`.
  """

  def function(*arguments: Any) -> Any:
    return lax.platform_dependent(*arguments, cpu=cpu, default=plain)

  return function
