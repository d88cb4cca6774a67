"""The settings of learners that adapt weights by gradient descent, the same for sinusoids, images and vectors."""

from dataclasses import dataclass
from typing import Any

from experiments.settings import check_at_least, check_positive


@dataclass
class Descent:
  """What these learners read of a recipe's settings."""
  inner_steps: int = 1  # gradient steps in training
  test_inner_steps: int = 3  # gradient steps in the test
  inner_rate: float = 0.4  # of the inner gradient descent; Meta-SGD's rates start here
  first_order: bool = False  # FOMAML; for Reptile, whose own step is always so, the contrast's gradient
  strength: float = 1.0  # of implicit MAML's pull towards the shared weights
  solver_steps: int = 5  # of implicit MAML's conjugate gradients


def check(config: Any) -> None:
  """Raises ValueError for a field of `Descent` that cannot be."""
  check_at_least(0, config, "inner_steps", "test_inner_steps", "inner_rate")
  check_at_least(1, config, "solver_steps")
  check_positive(config, "strength")
