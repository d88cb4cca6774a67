"""Tests a trained run on a frozen list of episodes.

  python -m launch.evaluate --workdir=runs/quickstart
  python -m launch.evaluate --workdir=runs/quickstart --episodes=5000 --test_seed=1
"""

from absl import flags

from launch import command_line, fields
from metajax.lab import run as runs
from metajax.lab import workdir
from metajax.lab.provenance import data_digest
from metajax.lab.recipe import data_of
from metajax.training import hosts

_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None, "the workdir of the run to test; required")
_EPISODES = flags.DEFINE_integer("episodes", None, "the number of episodes; by default that of the recipe",
                                 lower_bound=2)
_TEST_SEED = flags.DEFINE_integer("test_seed", None, "the seed of the list of episodes; by default that of the recipe")


def main(_: list[str]) -> None:
  if not _WORKDIR.value:
    raise ValueError("--workdir is missing; give the folder of a trained run: --workdir=runs/<recipe>.")
  run = workdir.read(_WORKDIR.value)
  config = fields.from_mapping(command_line.default_config(run["recipe"]), run["config"])
  if _EPISODES.value is not None:
    config.test.episodes = _EPISODES.value
  if _TEST_SEED.value is not None:
    config.test.seed = _TEST_SEED.value
  command_line.prepare()
  built = command_line.build(run["recipe"], config)
  if changed := workdir.data_changed(_WORKDIR.value, data_digest(data_of(built))):
    raise ValueError(changed)
  state = runs.restore(built, _WORKDIR.value)
  if hosts.is_writer():
    print(f"{built.notes}\nAfter {int(state.step)} steps.")
  runs.test(built, state.params, _WORKDIR.value, name=f"test_{config.test.episodes}_{config.test.seed}")


if __name__ == "__main__":
  command_line.run(main, in_pods=True)
