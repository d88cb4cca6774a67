"""MAML with ConML on Omniglot, 5-way 1-shot.

Paper: Finn et al., 2017 (https://arxiv.org/abs/1703.03400), with the objective of Wu et al., 2025. The network uses
stride 2 and averages over space, as in MAML's own code. Classes are split as by Vinyals et al. (1028 / 172 / 423).
Rotations of a training class by 90, 180 and 270 degrees count as three more classes. All classes of a task are rotated
alike: otherwise rotations would make training tasks easier than test tasks.
Expected: 98.7 % (MAML, 60,000 steps; nearest class mean of raw pixels, python -m benchmarks.pixels, 41.9 %).
Needs: Omniglot, in METAJAX_DATA_DIR or downloaded.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=omniglot_maml --workdir=runs/omniglot_maml

The end of its log with --config.norm=batch, as published, on two cores, shared with other work:
  step 10000/10000  106 tasks/s  loss 0.0525  accuracy 0.9825  d_out 0.00631  val_accuracy 0.9543  took 30:49
  Test on 600 episodes (mean ± 95 % interval): accuracy 0.9542 ± 0.0037, loss 0.1340 ± 0.0107
Accuracy is still rising at the end, after a sixth of MAML's steps with half the tasks and half the filters.
"""

from experiments.few_shot import omniglot
from experiments.settings import check_page
from metajax.lab.recipe import Recipe


def get_config() -> omniglot.Config:
  """Returns the default settings."""
  return omniglot.get_config("maml")


def build(config: omniglot.Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_page(config, "maml", "omniglot")
  return omniglot.build(config)
