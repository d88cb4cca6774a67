"""Terms: additions to the loss of one task. (ConML is the only term across tasks.)"""

from typing import Callable, Mapping

from metajax.objectives.solve import Solved
from metajax.types import Array, Params, PRNGKey

# (params, one solved task, key) -> scalar
Term = Callable[[Params, Solved, PRNGKey], Array]

# By name, a weight and a term: `{"weight_decay": (1e-4, decay)}`.
Terms = Mapping[str, tuple[float, Term]]


def check_terms(terms: Terms, taken: tuple[str, ...]) -> None:
  """Raises ValueError for a term with the name of another metric."""
  for name in terms:
    if name in taken:
      raise ValueError(f"a term needs a unique name, but {name!r} is the name of a metric; choose another name.")
