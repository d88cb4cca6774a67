"""Every learner that can classify, with ConML, on FS-Mol: molecular activity in an assay from 16 measured molecules.

Stanley et al., 2021 (https://openreview.net/forum?id=701FtuyLlAd): one task per assay, 4,938 for training, 40 for
validation and 157 for the test, which cycles through them. A molecule is represented by its stored fingerprint. Support
and query sets keep the assay's share of actives. The test measure is delta-AUPRC, as in the paper; for the baseline
without learning, see python -m benchmarks.fsmol <workdir>.
--help lists the learners.
Needs: FS-Mol (fs-mol-smiles.tar.xz, smiles.txt.gz and fingerprints.npz), in METAJAX_DATA_DIR.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=fsmol:protonet
Common flags: --config.shots=64
"""

from dataclasses import dataclass, field
import functools
from typing import Any, Callable, Mapping

from experiments import vector_learners
from experiments.settings import Training, changed, check_at_least, choose, make_optimizer
from metajax import losses
from metajax.data import fsmol, tfds_groups
from metajax.lab.recipe import Recipe
from metajax.measures import delta_average_precision
from metajax.tasks.class_data import SPLITS
from metajax.tasks.groups import GroupData, at_least, group_tasks


def _stored(name: str, split: str) -> GroupData:
  data = tfds_groups.load(name, split)
  if len(data.inputs) != len(fsmol.Fingerprints._fields):
    raise ValueError(f"config.data='tfds:{name}' must hold fingerprints, as written by launch.to_tfds --data=fsmol, "
                     f"but its rows have {len(data.inputs)} input(s).")
  return data._replace(inputs=fsmol.Fingerprints(*data.inputs))


@dataclass
class Config(vector_learners.Config):
  """Support sets of 16 molecules, a fully connected network."""
  data: str = "fsmol"  # or tfds:<name>, as written by launch.to_tfds
  shots: int = 16  # support molecules per assay, active and inactive together; FS-Mol reports 16, 32, 64, 128
  test_shots: int = 0  # support molecules per test assay; 0: as many as in training
  test_queries: int = 1024  # maximum number of query molecules per test assay
  queries: int = 64  # maximum number of query molecules per assay
  hidden: tuple[int, ...] = (256, 128)
  inner_rate: float = 0.1
  training: Training = field(default_factory=lambda: Training(
      steps=2000, tasks_per_step=16, learning_rate=3e-4, steps_per_row=50, steps_per_dispatch=10))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  return vector_learners.defaults()


def get_config(learner: str = "protonet") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def sweeps(config: Config) -> str:
  """Returns the further tests of a comparison: the support sizes that Stanley et al. report."""
  del config
  return "config.test_shots=16,32,64,128"


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  row = vector_learners.check(config)
  check_at_least(2, config, "shots")
  check_at_least(1, config, "queries", "test_queries")
  if config.test_shots:
    check_at_least(2, config, "test_shots")
  loss, scores = losses.softmax_cross_entropy, {"accuracy": losses.accuracy}
  trained, tested = (vector_learners.make_learner(config, 2, classes=True, num_steps=steps)
                     for steps in (config.inner_steps, config.test_inner_steps))
  objective = row.objective(config, trained, loss, scores)  # before any data is read, because it checks the settings
  kind, _, name = config.data.partition(":")
  readers: Mapping[str, Callable[[str], GroupData]] = {"fsmol": fsmol.load, "tfds:<name>": functools.partial(
      _stored, name)}
  load = choose("data", "tfds:<name>" if kind == "tfds" and name else config.data, readers)
  test_shots = config.test_shots or config.shots
  loaded = {split: load(split) for split in SPLITS}
  parts = {split: at_least(data, (test_shots if split == "test" else config.shots) + 1)
           for split, data in loaded.items()}
  lost = {split: len(loaded[split].names) - len(parts[split].names) for split in SPLITS}
  said = ", ".join(f"{number} {split}" for split, number in lost.items())
  tasks = functools.partial(group_tasks, stratified=True, prepare=fsmol.dense)
  train, val = (tasks(parts[split], shots=config.shots, queries=config.queries) for split in ("train", "val"))
  test = tasks(parts["test"], shots=test_shots, queries=config.test_queries, in_turn=True)
  steps = f", {config.test_inner_steps} inner step(s)" if row.descends else ""
  return Recipe(
      learner=trained, test_learner=tested, objective=objective,
      optimizer=make_optimizer(config.training), loss=loss, scores=scores, train_tasks=train, val_tasks=val,
      test_tasks=test, training=config.training, test=config.test, seed=config.seed,
      pictures=lambda params, key: {},
      notes=f"{loaded['test'].source} {len(parts['test'].names)} assays in cyclic order, {test_shots} shots{steps}, at "
            f"most {config.test_queries:,} queries, stratified, predictions are inductive; fingerprints, no graph "
            f"network.{f' Assays with too few molecules are left out, {said}.' if any(lost.values()) else ''}",
      measures={"delta_auprc": delta_average_precision})
