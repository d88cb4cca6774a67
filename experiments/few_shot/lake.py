"""Every learner that can classify, with ConML, on Lake's 20 runs: 20-way 1-shot within an alphabet of Omniglot.

Training uses 25 of the 30 background alphabets; the other 5 are for validation (`metajax.data.omniglot`). The test has
the 20 runs of Lake et al., 2015, with 400 trials in total, on unseen alphabets. They are the one-shot classification
runs of https://github.com/brendenlake/omniglot.
--help lists the learners.
Needs: Omniglot, and its python/one-shot-classification/all_runs.zip, in METAJAX_DATA_DIR.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=lake:protonet
"""

from dataclasses import dataclass, field
from typing import Any, Mapping

from experiments.few_shot import omniglot
from experiments.images import Tasks, placed
from experiments.settings import Test, changed, choose
from metajax.data import lake_runs
from metajax.data import omniglot as drawings
from metajax.lab.recipe import Recipe


@dataclass
class Config(omniglot.Config):
  """The settings of the recipe omniglot, 20-way."""
  ways: int = lake_runs.WAYS
  test: Test = field(default_factory=lambda: Test(episodes=lake_runs.RUNS))


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  return omniglot.defaults()


def get_config(learner: str = "protonet") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  choose("data", config.data, {"omniglot": None})
  if (config.ways, config.shots) != (lake_runs.WAYS, 1) or config.test.episodes % lake_runs.RUNS:
    raise ValueError(f"Lake's runs are {lake_runs.RUNS} tasks of {lake_runs.WAYS} ways and 1 shot, but config.ways="
                     f"{config.ways}, config.shots={config.shots} and config.test.episodes={config.test.episodes}; "
                     "leave them at their defaults.")

  def tasks(split: str) -> Tasks:
    turned = split == "train"
    made = Tasks(split, drawings.load(split, by_alphabet=True), rotations=turned, one_turn=config.one_turn and turned)
    return placed(made, config.examples, config.workers)

  built = omniglot.build_on(config, lambda: tasks)
  return built._replace(test_tasks=lake_runs.run_tasks(lake_runs.load()),
                        notes=f"{built.notes.rstrip('.')}, on the {lake_runs.RUNS} runs of Lake et al. (2015), each an "
                              "unseen alphabet.")
