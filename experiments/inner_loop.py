"""The learners that adapt weights by gradient descent, the same for sinusoids and for images."""

from dataclasses import dataclass
from typing import Any, Callable, Mapping

import optax

from experiments.settings import check_at_least, check_positive, check_read
from metajax import learners
from metajax.types import Learner, Network, PerExample

LEARNERS = ("maml", "fomaml", "anil", "metasgd", "reptile", "imaml")
WITH_ORDER = ("maml", "fomaml", "anil", "metasgd", "reptile")  # those that can be first-order


@dataclass
class Descent:
  """What these learners read of a recipe's settings."""
  inner_steps: int = 1  # gradient steps in training
  test_inner_steps: int = 3  # gradient steps in the test
  inner_rate: float = 0.4  # of the inner gradient descent; metasgd's rates start here
  first_order: bool = False  # FOMAML; for reptile, whose own step is always so, the contrast's gradient
  strength: float = 1.0  # of imaml's pull towards the shared weights
  solver_steps: int = 5  # of imaml's conjugate gradients


def check(config: Any) -> None:
  """Raises ValueError for a field of `Descent` that cannot be, or that `config.learner` does not read."""
  check_at_least(0, config, "inner_steps", "test_inner_steps", "inner_rate")
  check_at_least(1, config, "solver_steps")
  check_positive(config, "strength")
  check_read(config, inner_steps=LEARNERS, test_inner_steps=LEARNERS, inner_rate=LEARNERS, first_order=WITH_ORDER,
             strength=["imaml"], solver_steps=["imaml"])


def makers(config: Descent, loss: PerExample, network: Network, body: Network, head: Network, num_steps: int
           ) -> Mapping[str, Callable[[], Learner]]:
  """Returns makers of these learners by name.

  Args:
    config: a recipe's.
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
