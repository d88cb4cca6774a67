"""In-context learning of sparse linear functions, with ConML.

As icl_linear; 3 of the 5 coefficients are not zero (Garg et al., 2022, section 4; Wu et al., 2025, section 5.3).
Expected: below averaging and 3 nearest neighbours everywhere; equal to the Lasso up to 4 examples and above it from
there on (10,000 steps are few); 0.31 after 10 (icl.png in the workdir).
Needs: nothing but metajax.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=icl_sparse --workdir=runs/icl_sparse
"""

from experiments.in_context import icl, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.least_squares, references.lasso, references.averaging, references.neighbours)


def get_config() -> icl.Config:
  """Returns the default settings."""
  return icl.Config()


def sweeps(config: icl.Config) -> str:
  """Returns the further tests of a comparison."""
  return icl.sweeps(config)


def compared_with(config: icl.Config) -> icl.Along:
  """Returns the results of the references in these tests."""
  return icl.along_references(config, functions.sparse_linear(3), _COMPARED)


def build(config: icl.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return icl.build(config, "sparse linear functions", functions.sparse_linear(3), _COMPARED)
