"""The gradient of an objective by automatic differentiation."""

import jax

from metajax.kinds import check_returned
from metajax.types import Estimator, LossFunction, Objective


def differentiate(objective: Objective | LossFunction) -> Estimator:
  """Returns the estimator that differentiates the objective by reverse mode; it carries nothing.

  Raises ValueError, when traced, if the objective does not return a scalar and scalar metrics.
  """

  def returned(params, tasks, key):
    result = objective(params, tasks, key)
    check_returned(result)
    return result

  def init(params, tasks, key):
    del params, tasks, key
    return ()

  def estimate(params, carry, tasks, key, step):
    del step
    gradient, metrics = jax.grad(returned, has_aux=True)(params, tasks, key)
    return gradient, carry, metrics

  return Estimator(init, estimate)
