"""Terms: what is asked of one task besides its loss. (ConML is the one term across tasks.)"""

from typing import Callable, Mapping

from metajax.objectives.solve import Solved
from metajax.types import Array, Params, PRNGKey

# (params, what was solved of one task, key) -> scalar
Term = Callable[[Params, Solved, PRNGKey], Array]

# By name, a weight and a term: `{"weight_decay": (1e-4, decay)}`.
Terms = Mapping[str, tuple[float, Term]]


def check_terms(terms: Terms, taken: tuple[str, ...]) -> None:
  """Raises ValueError for a term whose name another metric has."""
  for name in terms:
    if name in taken:
      raise ValueError(f"a term needs a name of its own, but {name!r} is another metric; choose another name.")
