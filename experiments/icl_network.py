"""In-context learning of two-layer ReLU networks, with ConML.

As icl_linear.py; 100 hidden units, prompts of 40 examples (Garg et al., 2022, section 4; Wu et al., 2025, Table 5).
Expected: below least squares and 3 nearest neighbours, close to a network fitted by gradient descent (icl.png).
Needs: nothing but metajax.
Command: python -m launch.train --config=experiments/icl_network.py --workdir=runs/icl_network
The one flag people want: --config.conml=False
"""

from experiments import in_context, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.fitted_network, references.least_squares, references.averaging, references.neighbours)


def get_config() -> in_context.Config:
  """Returns the settings of the page above."""
  return in_context.Config(points=41)


def sweeps(config: in_context.Config) -> str:
  """Returns the further tests of a comparison."""
  return in_context.sweeps(config)


def compared_with(config: in_context.Config) -> in_context.Along:
  """Returns what the references get in these tests."""
  return in_context.along_references(config, functions.relu_network(100), _COMPARED)


def build(config: in_context.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return in_context.build(config, "two-layer ReLU networks", functions.relu_network(100), _COMPARED)
