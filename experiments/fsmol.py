"""Every learner that can classify, with ConML, on FS-Mol: is a molecule active in an assay, from 16 measured ones.

Stanley et al., 2021 (https://openreview.net/forum?id=701FtuyLlAd): one task an assay, 4,938 to train on, 40 to validate
and 157 to test; a molecule is its stored fingerprint. Support and query sets keep the assay's share of actives. Our
score is the accuracy; python -m benchmarks.fsmol <workdir> gives delta-AUPRC, the measure of the paper.
Learners: protonet, protonet_cosine, matchingnet, relationnet, ridge, maml, fomaml, anil, metasgd, reptile, imaml, cnp.
Command: python -m launch.train --config=experiments/fsmol.py:protonet
The flags people want: --config.shots=64 --config.conml=False
"""

from dataclasses import dataclass, field
from typing import Any, Mapping

import optax

from experiments import settings, vector_learners
from experiments.inner_loop import LEARNERS as DESCENDING
from experiments.settings import Training, changed, check_at_least, check_read, choose
from metajax import losses
from metajax.data import fsmol
from metajax.data.groups import at_least, group_tasks
from metajax.recipe import Recipe


@dataclass
class Config(vector_learners.Config):
  """Support sets of 16 molecules, a fully connected network."""
  shots: int = 16  # support molecules of an assay, active and inactive together; FS-Mol reports 16, 32, 64, 128
  queries: int = 64  # the most query molecules of an assay
  hidden: tuple[int, ...] = (256, 128)
  inner_rate: float = 0.1
  training: Training = field(default_factory=lambda: Training(
      steps=2000, tasks_per_step=16, learning_rate=3e-4, steps_per_row=50, steps_per_dispatch=10))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with the settings in which it differs from `Config`."""
  return vector_learners.defaults()


def get_config(learner: str = "protonet") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  vector_learners.check(config)
  check_at_least(2, config, "shots")
  check_at_least(1, config, "queries")
  check_read(config, temperature=vector_learners.WARM)
  loss, scores = losses.softmax_cross_entropy, {"accuracy": losses.accuracy}
  trained, tested = (vector_learners.make_learner(config, 2, classes=True, num_steps=steps)
                     for steps in (config.inner_steps, config.test_inner_steps))
  make_objective = settings.make_reptile if config.learner == "reptile" else settings.make_objective
  parts = {split: at_least(fsmol.load(split), config.shots + 1) for split in ("train", "val", "test")}
  train, val, test = (group_tasks(data, shots=config.shots, queries=config.queries, stratified=True,
                                  prepare=fsmol.dense) for data in parts.values())
  steps = f", {config.test_inner_steps} inner step(s)" if config.learner in DESCENDING else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=make_objective(config, trained, loss, scores),
      optimizer=optax.adam(config.training.learning_rate), loss=loss, scores=scores, train_tasks=train, val_tasks=val,
      test_tasks=test, training=config.training, test=config.test, seed=config.seed,
      pictures=lambda params, key: {},
      notes=f"{parts['test'].source} {config.shots} shots{steps}, stratified, predictions are inductive.")
