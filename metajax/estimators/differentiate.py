"""The gradient of an objective by automatic differentiation."""

import jax

from metajax.types import Estimator, LossFunction, Objective


def differentiate(objective: Objective | LossFunction) -> Estimator:
  """Returns the estimator that differentiates the objective by reverse mode; it carries nothing."""

  def init(params, tasks, key):
    del params, tasks, key
    return ()

  def estimate(params, carry, tasks, key, step):
    del step
    gradient, metrics = jax.grad(objective, has_aux=True)(params, tasks, key)
    return gradient, carry, metrics

  return Estimator(init, estimate)
