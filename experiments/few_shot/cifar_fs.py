"""Every learner that can classify, with ConML, on CIFAR-FS, 5-way 1-shot.

Bertinetto et al., 2019 (https://arxiv.org/abs/1805.08136): 64 / 16 / 20 classes of CIFAR-100 with all 600 images each,
with the objective of Wu et al., 2025. The network is a Conv4 with 64 filters, or 32 if all weights are adapted.
Training images are shifted, mirrored and recoloured on the device.
Published (5-way 1-shot / 5-shot, longer training; Bertinetto et al., as cited by Lee et al., 2019,
https://arxiv.org/abs/1904.03758, Table 2): MAML 58.9 / 71.5 % (32 filters), ProtoNet 55.5 / 72.0 %, ridge regression
(R2-D2) 65.3 / 79.4 % with a wider network. Nearest class mean of raw pixels (python -m benchmarks.pixels):
30.2 / 40.0 %.
--help lists the learners.
Needs: CIFAR-100, in METAJAX_DATA_DIR or downloaded.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=cifar_fs:ridge
Common flags: --config.shots=5 --config.data=fc100 --config.augment=False
"""

from typing import Any, Mapping

from experiments.few_shot import few_shot
from experiments.settings import choose
from metajax.lab.recipe import Recipe


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its own settings."""
  return few_shot.defaults()


def get_config(learner: str = "protonet") -> few_shot.Config:
  """Returns the settings of a learner."""
  return few_shot.get_config(learner)


def build(config: few_shot.Config) -> Recipe:
  """Returns the recipe of these settings."""
  choose("data", config.data, {"cifar-fs": None, "fc100": None})  # other data: the recipe few_shot
  return few_shot.build(config)
