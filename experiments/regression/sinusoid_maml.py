"""MAML with ConML on sinusoids: regression from 10 points, one gradient step.

Paper: Finn et al., 2017, section 5.1 (https://arxiv.org/abs/1703.03400), with the objective of Wu et al., 2025.
Expected: trained at 10 shots, tested at 5 shots after one step, mean squared error 0.67 (MAML's Table 2).
Needs: nothing but metajax.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=sinusoid_maml --workdir=runs/sinusoid_maml

The end of its log on two cores (with --config.conml=False, next to another job: 70894 tasks/s):
  step 70000/70000  40176 tasks/s  loss 0.3672  d_in 4.768e-06  d_out 7.637e-05  val_loss 0.7344  took 00:48
  Test on 2000 episodes (mean ± 95 % interval): loss 0.6166 ± 0.0338
The two distances are tiny because adapted weights are theta plus a small update: at lambda 0.1, the contrast has almost
no effect here.
"""

from experiments.regression import sinusoid
from experiments.settings import check_page
from metajax.lab.recipe import Recipe


def get_config() -> sinusoid.Config:
  """Returns the default settings."""
  return sinusoid.get_config("maml")


def sweeps(config: sinusoid.Config) -> str:
  """Returns the further tests of a comparison."""
  return sinusoid.sweeps(config)


def build(config: sinusoid.Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_page(config, "maml", "sinusoid")
  return sinusoid.build(config)
