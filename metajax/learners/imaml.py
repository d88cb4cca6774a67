"""Implicit MAML: the task model is the minimum of a regularised loss, and the meta-gradient that of the minimum.

`w* = argmin_w L(w) + strength/2 |w - theta|^2`; however it was found, `dw*/dtheta` follows from the implicit function
theorem, with no inner loop to differentiate. Rajeswaran et al., Meta-Learning with Implicit Gradients, 2019,
https://arxiv.org/abs/1909.04630, eqs. 3-6. The theorem is `jax.lax.custom_root`, the linear solve jax's conjugate
gradients. psi is the adapted weights.
"""

import jax
from jax import lax
from jax.scipy.sparse.linalg import cg
import optax

from metajax.descent import descend
from metajax.examples import masked_mean
from metajax.learners.identity import identity_embed, identity_represent
from metajax.types import Learner, Network, PerExample


def imaml(network: Network, loss: PerExample, *, strength: float, optimizer: optax.GradientTransformation,
          num_steps: int = 16, solver_steps: int = 10) -> Learner:
  """Returns the implicit MAML learner.

  Args:
    network: adapted whole.
    loss: `(outputs [N, ...], targets [N, ...]) -> [N]`.
    strength: of the pull towards the shared weights, positive (lambda in the paper; 2.0 for its images).
    optimizer: of the inner problem; the closer it comes to the minimum, the better the meta-gradient.
    num_steps: of the optimizer.
    solver_steps: of conjugate gradients.

  Raises:
    ValueError: if `strength` is not positive or a number of steps is negative.
  """
  if strength <= 0 or num_steps < 0 or solver_steps < 1:
    raise ValueError("implicit MAML needs a positive strength, num_steps of 0 or more and solver_steps of 1 or more, "
                     f"but got {strength}, {num_steps} and {solver_steps}.")

  def adapt(params, examples, key):
    del key  # nothing is drawn

    def regularised(weights):
      outputs = network.apply(weights, examples.inputs, examples.mask)
      pull = optax.tree.norm(optax.tree.sub(weights, params), squared=True)
      return masked_mean(loss(outputs, examples.targets), examples.mask) + strength / 2 * pull

    def minimise(slope, start):
      step = lambda carry, _: (descend(optimizer, slope(carry[0]), carry[1], carry[0]), None)
      return lax.scan(step, (start, optimizer.init(start)), length=num_steps)[0][0]

    def solve(matrix, right):
      return cg(matrix, right, maxiter=solver_steps)[0]

    return lax.custom_root(jax.grad(regularised), lax.stop_gradient(params), minimise, solve)

  def predict(params, adapted, inputs, mask):
    del params
    return network.apply(adapted, inputs, mask)

  return Learner(network.init, identity_embed, adapt, predict, identity_represent)
