"""In-context learning of two-layer ReLU networks, with ConML.

As icl_linear.py; 100 hidden units, prompts of 40 examples (Garg et al., 2022, section 4; Wu et al., 2025, Table 5).
Expected: below least squares and 3 nearest neighbours, close to a network fitted by gradient descent (icl.png).
Needs: nothing but metajax.
Command: python -m launch.train --config=experiments/icl_network.py --workdir=runs/icl_network
The one flag people want: --config.conml=False
"""

from experiments import in_context, references
from metajax.data import functions
from metajax.recipe import Recipe


def get_config() -> in_context.Config:
  """Returns the settings of the page above."""
  return in_context.Config(points=41)


def build(config: in_context.Config) -> Recipe:
  """Returns the recipe of these settings."""
  compared = (references.fitted_network, references.least_squares, references.averaging, references.neighbours)
  return in_context.build(config, "two-layer ReLU networks", functions.relu_network(100), compared)
