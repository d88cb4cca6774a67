"""The settings of learners that adapt weights by gradient descent, shared by sinusoids, images and vectors."""

from dataclasses import dataclass
from typing import Any

from experiments.settings import check_at_least, check_positive


@dataclass
class Descent:
  """The settings that these learners read."""
  inner_steps: int = 1  # gradient steps in training
  test_inner_steps: int = 3  # gradient steps in the test
  inner_rate: float = 0.4  # learning rate of the inner loop; initial value of Meta-SGD's rates
  first_order: bool = False  # FOMAML; for Reptile, which is first-order, only the contrast's gradient
  strength: float = 1.0  # of implicit MAML's regularisation towards the shared weights
  solver_steps: int = 5  # conjugate-gradient steps of implicit MAML


def check(config: Any) -> None:
  """Raises ValueError for an invalid field of `Descent`."""
  check_at_least(0, config, "inner_steps", "test_inner_steps", "inner_rate")
  check_at_least(1, config, "solver_steps")
  check_positive(config, "strength")
