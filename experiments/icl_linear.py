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
from metajax.data import functions
from metajax.recipe import Recipe


def get_config() -> in_context.Config:
  """Returns the settings of the page above."""
  return in_context.Config()


def build(config: in_context.Config) -> Recipe:
  """Returns the recipe of these settings."""
  compared = (references.least_squares, references.averaging, references.neighbours)
  return in_context.build(config, "linear functions", functions.linear, compared)
