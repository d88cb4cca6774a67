"""What a network is told of its weights, by which it chooses how to compute; the results are the same."""

from typing import Literal, get_args

# Whether tasks have weights of their own (a learner adapts them) or share them (metric learners, bodies).
Weights = Literal["per_task", "shared"]


def check_weights(weights: str) -> None:
  """Raises ValueError for a word that is neither."""
  if weights not in get_args(Weights):
    raise ValueError(f"weights must be one of {', '.join(get_args(Weights))}, but they are {weights!r}.")
