"""In-context learning of decision trees, with ConML.

As icl_linear; trees of depth 4, prompts of 20 examples (Garg et al., 2022, section 4; Wu et al., 2025, Table 5).
Expected: below averaging and least squares, similar to 3 nearest neighbours; below a greedily grown tree only for the
first dozen examples, at 10,000 steps (icl.png in the workdir).
Needs: nothing but metajax.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=icl_tree --workdir=runs/icl_tree
"""

from experiments.in_context import icl, references
from metajax.lab.recipe import Recipe
from metajax.tasks import functions

_COMPARED = (references.greedy_tree, references.least_squares, references.averaging, references.neighbours)


def get_config() -> icl.Config:
  """Returns the default settings."""
  return icl.Config(points=21)


def sweeps(config: icl.Config) -> str:
  """Returns the further tests of a comparison."""
  return icl.sweeps(config)


def compared_with(config: icl.Config) -> icl.Along:
  """Returns the results of the references in these tests."""
  return icl.along_references(config, functions.decision_tree(4), _COMPARED)


def build(config: icl.Config) -> Recipe:
  """Returns the recipe of these settings."""
  return icl.build(config, "decision trees", functions.decision_tree(4), _COMPARED)
