"""In-context learning of decision trees, with ConML.

As icl_linear.py; trees of depth 4, prompts of 20 examples (Garg et al., 2022, section 4; Wu et al., 2025, Table 5).
Expected: below averaging and least squares, about 3 nearest neighbours; a tree grown greedily is overtaken for the
first dozen examples only, at 10,000 steps (icl.png in the workdir).
Needs: nothing but metajax.
Command: python -m launch.train --config=experiments/icl_tree.py --workdir=runs/icl_tree
The one flag people want: --config.conml=False
"""

from experiments import in_context, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.greedy_tree, references.least_squares, references.averaging, references.neighbours)


def get_config() -> in_context.Config:
  """Returns the settings of the page above."""
  return in_context.Config(points=21)


def sweeps(config: in_context.Config) -> str:
  """Returns the further tests of a comparison."""
  return in_context.sweeps(config)


def compared_with(config: in_context.Config) -> in_context.Along:
  """Returns what the references get in these tests."""
  return in_context.along_references(config, functions.decision_tree(4), _COMPARED)


def build(config: in_context.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return in_context.build(config, "decision trees", functions.decision_tree(4), _COMPARED)
