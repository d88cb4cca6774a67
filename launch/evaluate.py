"""Tests a trained run on a frozen list of episodes, as it was trained or with other settings.

  python -m launch.evaluate --workdir=runs/quickstart
  python -m launch.evaluate --workdir=runs/quickstart --episodes=5000 --test_seed=1
  python -m launch.evaluate --workdir=runs/quickstart --config.shots=5 --config.ways=10
  python -m launch.evaluate --workdir=runs/omniglot_maml --config.test_inner_steps=10 --config.data=glyphs
  python -m launch.evaluate --workdir=runs/quickstart --checkpoint=300

A setting of the run is changed for this test alone, such as the number of shots and ways, the data or the inner steps;
it must leave the shapes of the parameters alone. Each test is written to files of its own, named by what differs:
test_600_0_shots=5.json.
"""

import re
from typing import Any, Mapping

from absl import flags

from launch import arms, command_line, fields
from metajax.lab import run as runs
from metajax.lab import workdir
from metajax.lab.provenance import data_digest
from metajax.lab.recipe import data_of
from metajax.lab.working_copy import Workdir, working_copy
from metajax.training import hosts

_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None, "the workdir of the run to test; required. Other "
                        "settings for this test, such as shots, ways and data: --config.<field>=<value>")
_EPISODES = flags.DEFINE_integer("episodes", None, "the number of episodes; by default that of the recipe",
                                 lower_bound=2)
_TEST_SEED = flags.DEFINE_integer("test_seed", None, "the seed of the list of episodes; by default that of the recipe")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "best (by config.training.keep_best), last, or a step; by "
                                  "default what launch.train tests: the best if the run keeps it, otherwise the last")

_NO_TEST = ("seed", "conml", "learner", "train_ways", "train_queries")
_NO_TEST_GROUPS = ("training.", "contrast.")


def check_flags() -> str:
  """Returns the workdir; raises ValueError if it is missing. Launchers call this before they start anything."""
  if not _WORKDIR.value:
    raise ValueError("--workdir is missing; give the folder of a trained run: --workdir=runs/<recipe>.")
  return _WORKDIR.value


def main(_: list[str]) -> None:
  with working_copy(check_flags(), beside=True) as copy:
    _test(copy)


def _test(copy: Workdir) -> None:
  run = workdir.read(copy.folder)
  trained = fields.from_mapping(command_line.default_config(run["recipe"]), run["config"])
  settings = _settings(trained, SETTINGS)
  config = arms.changed(trained, settings)
  if _EPISODES.value is not None:
    config.test.episodes = _EPISODES.value
  if _TEST_SEED.value is not None:
    config.test.seed = _TEST_SEED.value
  command_line.prepare()
  built = command_line.build(run["recipe"], config)
  if "data" not in settings:  # otherwise it is meant to be other data
    used = command_line.make(run["recipe"], trained) if settings else built
    if changed := workdir.data_changed(copy.folder, data_digest(data_of(used))):
      raise ValueError(changed)
  choice = _CHECKPOINT.value or ("best" if config.training.keep_best else "last")
  state = runs.restore(built, copy.folder, choice, shared=copy.shared)
  if hosts.is_writer():
    print(f"{built.notes}\nAfter {int(state.step)} steps.")
  chosen = "" if _CHECKPOINT.value is None else f"step{int(state.step)}"
  own = {name: value for name, value in settings.items() if name not in ("test.episodes", "test.seed")}
  name = _name(f"test_{config.test.episodes}_{config.test.seed}", own, chosen)
  runs.test(built, state.params, copy.folder, name=name, step=int(state.step), settings=own)
  if hosts.is_writer():
    print(f"Written to {copy.name}/{name}.json")


def _settings(config: Any, given: Mapping[str, str | None]) -> dict[str, Any]:
  """Returns the changed settings by field, with their types; raises ValueError for what cannot be changed in a test."""
  settings = {}
  for field, text in given.items():
    fields.check_setting(config, field, text)
    if field in _NO_TEST or field.startswith(_NO_TEST_GROUPS):
      raise ValueError(f"config.{field} is a setting of training, so no test depends on it; leave it out, or train "
                       "another run.")
    settings[field] = arms.value_of(config, field, text or "")
  return settings


def _name(start: str, settings: Mapping[str, Any], chosen: str) -> str:
  changed = [f"{name}={value}" for name, value in settings.items()]
  name = "_".join(part for part in (start, *changed, chosen) if part)
  return re.sub(r"[^\w.=+-]+", "-", name)[:200]


if __name__ == "__main__":
  SETTINGS = command_line.take_settings()
  command_line.run(main, in_pods=True)
