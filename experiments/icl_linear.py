"""In-context learning of linear functions, with ConML.

Paper: Garg et al., 2022 (https://arxiv.org/abs/2208.01066), its toy setting: 5 dimensions, prompts of 10 examples and
a query, no curriculum; with the objective of Wu et al., 2025, section 5.3 (lambda 0.02, half prompts, sigmoid of the
squared difference). The small transformer instead of the standard one fits two cores.
Expected: below 3 nearest neighbours and averaging, close to least squares (icl.png in the workdir).
Needs: nothing but metajax.
Command: python -m launch.train --config=experiments/icl_linear.py --workdir=runs/icl_linear
The one flag people want: --config.conml=False
"""

from experiments import in_context, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.least_squares, references.averaging, references.neighbours)


def get_config() -> in_context.Config:
  """Returns the settings of the page above."""
  return in_context.Config()


def sweeps(config: in_context.Config) -> str:
  """Returns the further tests of a comparison."""
  return in_context.sweeps(config)


def compared_with(config: in_context.Config) -> in_context.Along:
  """Returns what the references get in these tests."""
  return in_context.along_references(config, functions.linear, _COMPARED)


def build(config: in_context.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return in_context.build(config, "linear functions", functions.linear, _COMPARED)
