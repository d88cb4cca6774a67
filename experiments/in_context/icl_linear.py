"""In-context learning of linear functions, with ConML.

Paper: Garg et al., 2022 (https://arxiv.org/abs/2208.01066), its toy setting: 5 dimensions, prompts of 10 examples and
a query, no curriculum. The objective is that of Wu et al., 2025, section 5.3 (lambda 0.02, half prompts, sigmoid of the
squared difference). The small transformer is used instead of the standard one, to suit two cores.
Expected: below 3 nearest neighbours and averaging, close to least squares (icl.png in the workdir).
Needs: nothing but metajax.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=icl_linear --workdir=runs/icl_linear
"""

from experiments.in_context import icl, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.least_squares, references.averaging, references.neighbours)


def get_config() -> icl.Config:
  """Returns the default settings."""
  return icl.Config()


def sweeps(config: icl.Config) -> str:
  """Returns the further tests of a comparison."""
  return icl.sweeps(config)


def compared_with(config: icl.Config) -> icl.Along:
  """Returns the results of the references in these tests."""
  return icl.along_references(config, functions.linear, _COMPARED)


def build(config: icl.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return icl.build(config, "linear functions", functions.linear, _COMPARED)
