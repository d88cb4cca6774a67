"""Whether a network's weights differ between tasks; this selects the faster computation, with the same results."""

from typing import Literal, get_args

# Whether a learner adapts the weights to each task, or all tasks share them (metric-based learners, bodies).
Weights = Literal["per_task", "shared"]


def check_weights(weights: str) -> None:
  """Raises ValueError for any other value."""
  if weights not in get_args(Weights):
    raise ValueError(f"weights must be one of {', '.join(get_args(Weights))}, but they are {weights!r}.")
