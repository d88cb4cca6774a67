"""The learners that adapt weights by gradient descent, the same for sinusoids and for images."""

from typing import Any, Callable, Mapping

import optax

from metajax import learners
from metajax.types import Learner, Network, PerExample

LEARNERS = ("maml", "fomaml", "anil", "metasgd", "reptile", "imaml")
WITH_ORDER = ("maml", "fomaml", "anil", "metasgd", "reptile")  # those that can be first-order


def makers(config: Any, loss: PerExample, network: Network, body: Network, head: Network, num_steps: int
           ) -> Mapping[str, Callable[[], Learner]]:
  """Returns makers of these learners by name.

  Args:
    config: a recipe's, with fields `inner_rate`, `first_order`, `strength` and `solver_steps`.
    loss: of the inner loop.
    network: adapted whole.
    body, head: the same cut in two, for ANIL.
    num_steps: of the inner loop.
  """
  loop: dict[str, Any] = {"optimizer": optax.sgd(config.inner_rate), "num_steps": num_steps}
  maml = lambda: learners.maml(network, loss, first_order=config.first_order, **loop)
  return {
      "maml": maml, "fomaml": maml, "reptile": maml,  # one inner loop; its derivative and the objective differ
      "anil": lambda: learners.anil(body, head, loss, first_order=config.first_order, **loop),
      "metasgd": lambda: learners.metasgd(network, loss, initial_rate=config.inner_rate, num_steps=num_steps,
                                          first_order=config.first_order),
      "imaml": lambda: learners.imaml(network, loss, strength=config.strength, solver_steps=config.solver_steps,
                                      **loop)}
