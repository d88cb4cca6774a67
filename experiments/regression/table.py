"""Every learner on vectors, with ConML, on your table: one task per value of its group column.

A row is an example, and a group (a patient, a shop, an assay) is a task. The groups are split into training, validation
and test, so the test measures learning a new group from a few of its rows. Inputs and real targets are standardised
with the statistics of the training groups.
--help lists the learners.
Needs: your table, a .csv or .parquet file.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=table:ridge --config.data=visits.csv --config.group=patient
  --config.target=pressure
Common flags: --config.classification=True --config.inputs="('age','dose')" --config.shots=5
"""

from dataclasses import dataclass, field, replace
import sys
from typing import Any, Mapping

import numpy as np

from experiments import vector_learners
from experiments.settings import Training, changed, check_at_least, choose, make_optimizer
from metajax import losses
from metajax.data import staged, tables
from metajax.lab.recipe import Recipe
from metajax.serving.inputs import Raw
from metajax.tasks.groups import GroupData, at_least, group_tasks
from metajax.training.hosts import is_writer


@dataclass
class Config(vector_learners.Config):
  """A small network for tables of a few thousand rows."""
  learner: str = "ridge"
  data: str = ""  # the table, a .csv or .parquet file
  group: str = ""  # the column that names the task of each row
  target: str = ""  # the column to predict
  inputs: tuple[str, ...] = ()  # the input columns; empty: all others
  split: str = ""  # a column with the words train, val and test; empty: groups are split by a fixed random draw
  classification: bool = False  # whether the target names a class
  shots: int = 10  # support rows per task; the default becomes less if no two groups of a split have as many
  queries: int = 20  # maximum number of query rows per task
  hidden: tuple[int, ...] = (64, 64)  # units of the layers; (), for ridge: only weighted inputs
  test_inner_steps: int = 1
  inner_rate: float = 0.05
  training: Training = field(default_factory=lambda: Training(steps=2000, tasks_per_step=16))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  return vector_learners.defaults(lambda row: {"classification": True} if row.classes_only else {})


def get_config(learner: str = "ridge") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  row = vector_learners.check(config)
  check_at_least(1, config, "shots", "queries")
  for name in ("data", "group", "target"):
    if not getattr(config, name):
      raise ValueError(f"config.{name} must be given: --config.data=<table>.csv --config.group=<column> "
                       "--config.target=<column>.")
  if not config.classification and row.classes_only:
    raise ValueError(f"the learner {config.learner} only classifies; give config.classification=True, or another "
                     "learner.")
  table = tables.load(staged.local(config.data), group=config.group, target=config.target, inputs=config.inputs,
                      split=config.split, classification=config.classification)
  classes = config.classification
  outputs = len(table.classes) if classes else 1
  loss = losses.softmax_cross_entropy if classes else losses.squared_error
  scores = {"accuracy": losses.accuracy} if classes else {}
  trained, tested = (vector_learners.make_learner(config, outputs, classes=classes, num_steps=steps)
                     for steps in (config.inner_steps, config.test_inner_steps))
  config, parts, fitted = _fitted(config, table)
  tasks = lambda data: group_tasks(data, shots=config.shots, queries=config.queries, stratified=classes)
  after = f" after {config.test_inner_steps} inner step(s)" if row.descends else ""
  raw = Raw(centre=tuple(table.inputs.mean.tolist()), scale=tuple(table.inputs.spread.tolist()), columns=table.columns,
            classes=table.classes)
  if table.target is not None:
    raw = raw._replace(target_centre=float(table.target.mean[0]), target_scale=float(table.target.spread[0]))
  unit = "" if classes else (f"; loss is the mean squared error in units of the training groups' variance, "
                             f"{raw.target_scale ** 2:.4g} in the table's units")
  return Recipe(
      learner=trained, test_learner=tested, objective=row.objective(config, trained, loss, scores),
      optimizer=make_optimizer(config.training), loss=loss, scores=scores, train_tasks=tasks(parts["train"]),
      val_tasks=tasks(parts["val"]), test_tasks=tasks(parts["test"]), training=config.training, test=config.test,
      seed=config.seed, pictures=lambda params, key: {}, raw=raw,
      notes=f"{table.splits['test'].source} {_said(parts)} {config.target} from {len(table.columns)} column(s), "
            f"{config.shots} shots{after}, predictions are inductive{unit}.{fitted}")


def _fitted(config: Config, table: tables.Table) -> tuple[Config, dict[str, GroupData], str]:
  """Settings and groups that fit each other, and what does not fit, with a blank before it."""
  shots = config.shots
  if shots == Config().shots:  # nobody chose it: two groups of each split shall have a query, or the only one
    shots = max(1, min(shots, *(int(np.sort(data.counts)[-2:][0]) - 1 for data in table.splits.values())))
  try:
    parts = {split: at_least(data, shots + 1) for split, data in table.splits.items()}
  except ValueError as error:
    largest = min(int(data.counts.max()) for data in table.splits.values())
    remedy = f"give config.shots={largest - 1} or less" if largest > 1 else "add rows to them"
    raise ValueError(f"config.data={config.data!r} must have a group of more than config.shots={shots} rows in each "
                     f"split, but a split has none; {remedy}.") from error
  said = [f"config.shots is {shots} instead of {config.shots}, as groups are small"] if shots != config.shots else []
  lost = {split: len(table.splits[split].names) - len(data.names) for split, data in parts.items()}
  if any(lost.values()):
    said.append(f"groups with fewer than {shots + 1} rows are left out, {_counts(lost)}")
  if table.left_out:
    said.append(f"columns without numbers are no inputs: {', '.join(table.left_out)}")
  sentence = f"Fitted to the data: {'; '.join(said)}." if said else ""
  if sentence and is_writer():
    print(sentence, file=sys.stderr)
  return replace(config, shots=shots), parts, sentence and f" {sentence}"


def _said(parts: Mapping[str, GroupData]) -> str:
  return f"Groups: {_counts({split: len(data.names) for split, data in parts.items()})}."


def _counts(numbers: Mapping[str, int]) -> str:
  return ", ".join(f"{number} {split}" for split, number in numbers.items())
