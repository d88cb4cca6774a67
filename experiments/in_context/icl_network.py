"""In-context learning of two-layer ReLU networks, with ConML.

As icl_linear; 100 hidden units, prompts of 40 examples (Garg et al., 2022, section 4; Wu et al., 2025, Table 5).
Expected: below least squares and 3 nearest neighbours, close to a network fitted by gradient descent (icl.png).
Needs: nothing but metajax.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=icl_network --workdir=runs/icl_network
"""

from experiments.in_context import icl, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.fitted_network, references.least_squares, references.averaging, references.neighbours)


def get_config() -> icl.Config:
  """Returns the default settings."""
  return icl.Config(points=41)


def sweeps(config: icl.Config) -> str:
  """Returns the further tests of a comparison."""
  return icl.sweeps(config)


def compared_with(config: icl.Config) -> icl.Along:
  """Returns the results of the references in these tests."""
  return icl.along_references(config, functions.relu_network(100), _COMPARED)


def build(config: icl.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return icl.build(config, "two-layer ReLU networks", functions.relu_network(100), _COMPARED)
