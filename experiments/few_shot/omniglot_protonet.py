"""ProtoNet with ConML on Omniglot, 5-way 1-shot.

Paper: Snell et al., 2017 (https://arxiv.org/abs/1703.05175), with the objective of Wu et al., 2025. Classes are split
as by Vinyals et al. (1028 / 172 / 423). Rotations of a training class by 90, 180 and 270 degrees count as three more.
Expected: 98.8 % (Snell et al., trained on 60-way tasks); the nearest class mean of raw pixels gets 41.9 %
(python -m benchmarks.pixels).
Needs: Omniglot, in METAJAX_DATA_DIR or downloaded.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=omniglot_protonet --workdir=runs/omniglot_protonet

The end of its log with --config.norm=batch, as published, on two cores, shared with other work:
  step 1200/1200  6.8 tasks/s  loss 0.08188  accuracy 0.9629  d_in 0.03713  d_out 0.352  val_accuracy 0.9711  took 19:06
  Test on 600 episodes (mean ± 95 % interval): accuracy 0.9724 ± 0.0030, loss 0.0826 ± 0.0098
"""

from experiments.few_shot import omniglot
from experiments.settings import check_page
from metajax.lab.recipe import Recipe


def get_config() -> omniglot.Config:
  """Returns the default settings."""
  return omniglot.get_config("protonet")


def build(config: omniglot.Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_page(config, "protonet", "omniglot")
  return omniglot.build(config)
