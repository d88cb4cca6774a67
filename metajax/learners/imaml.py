"""Implicit MAML: the task model minimises a regularised loss, and the minimum is differentiated implicitly.

`w* = argmin_w F(w, theta)` with `F = L(w) + strength/2 |w - theta|^2`. The implicit function theorem gives its
derivative, `dw* = -(d2F/dw2)^-1 d(dF/dw)`, without differentiating through the inner loop. The linear system is solved
with JAX's conjugate gradients. Rajeswaran et al., Meta-Learning with Implicit Gradients, 2019,
https://arxiv.org/abs/1909.04630, eqs. 3-6. psi is the adapted weights.
"""

import jax
from jax import lax
from jax.scipy.sparse.linalg import cg
import optax

from metajax.descent import descend
from metajax.learners.identity import identity_embed, identity_represent
from metajax.learners.in_training import trains_its_networks
from metajax.learners.padding import ignore_padding
from metajax.network_state import check_stateless
from metajax.per_example import mean_of
from metajax.types import Learner, Network, PerExample


@trains_its_networks
def imaml(network: Network, loss: PerExample, *, strength: float, optimizer: optax.GradientTransformation,
          num_steps: int = 16, solver_steps: int = 10) -> Learner:
  """Returns the implicit MAML learner.

  Args:
    network: all of its weights are adapted.
    loss: `(outputs [N, ...], targets [N, ...]) -> [N]`.
    strength: strength of the regularisation towards the shared weights, positive (the paper's lambda; 2.0 for images).
    optimizer: optimizer of the inner problem; the closer it gets to the minimum, the better the meta-gradient.
    num_steps: steps of the optimizer.
    solver_steps: steps of conjugate gradients.

  Raises:
    ValueError: if `strength` is not positive or a number of steps is negative.
  """
  if strength <= 0 or num_steps < 0 or solver_steps < 1:
    raise ValueError("implicit MAML needs a positive strength, num_steps of 0 or more and solver_steps of 1 or more, "
                     f"but got {strength}, {num_steps} and {solver_steps}.")

  def adapt(params, examples, key):
    del key  # nothing is drawn
    check_stateless(params, "implicit MAML")

    def slope(weights, theta, examples):

      def regularised(weights):
        outputs = network.apply(weights, examples.inputs, examples.mask)
        pull = optax.tree.norm(optax.tree.sub(weights, theta), squared=True)
        return mean_of("the loss of the inner loop", loss, outputs, examples) + strength / 2 * pull

      return jax.grad(regularised)(weights)

    fixed = lax.stop_gradient((params, examples))
    step = lambda carry, _: (descend(optimizer, slope(carry[0], *fixed), carry[1], carry[0]), None)
    minimum = lax.scan(step, (fixed[0], optimizer.init(fixed[0])), length=num_steps)[0][0]
    curvature = lambda direction: jax.jvp(lambda w: slope(w, *fixed), (minimum,), (direction,))[1]
    # The Newton step is (almost) zero at the minimum; its derivative is minus that of the minimum.
    newton, _ = cg(curvature, slope(minimum, params, examples), tol=1e-8, maxiter=solver_steps)
    return jax.tree.map(lambda w, n: w - (n - lax.stop_gradient(n)), minimum, newton)

  def predict(params, adapted, inputs, mask):
    del params
    return network.apply(adapted, inputs, mask)

  return ignore_padding(Learner(network.init, identity_embed, adapt, predict, identity_represent))
