"""Trains, tests and pictures a recipe.

  python -m launch.train                                                     the quickstart
  python -m launch.train --config=experiments/omniglot_maml.py --config.seed=1 --workdir=runs/maml1
  python -m launch.train --config=experiments/omniglot.py:ridge              one learner of a recipe for many

The same command again goes on where the run was left.
"""

import dataclasses

from absl import flags

from launch import command_line, tuned
from metajax import hosts, recipe, workdir

_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "compile, say what memory and arithmetic a step takes, and stop")
_TUNED = flags.DEFINE_boolean("tuned", False, "take the settings that benchmarks.autotune found fastest here")
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go; by default runs/<recipe>")


def main(_: list[str]) -> None:
  command_line.connect()
  name, config = CONFIG()
  if _TUNED.value:
    print("Tuned: " + " ".join(tuned.apply(name, config)))
  built = command_line.build(name, config)
  if _DRY_RUN.value:
    command_line.use_compilation_cache()
    recipe.dry_run(built)
    return
  folder = _WORKDIR.value or f"runs/{command_line.run_name(name)}"
  if hosts.is_writer():
    workdir.claim(folder, name, dataclasses.asdict(config))
  hosts.wait("the workdir is claimed")
  command_line.use_compilation_cache()
  recipe.run(built, folder)
  if hosts.is_writer():
    print(f"All of it is in {folder}. To test again: python -m launch.evaluate --workdir={folder}")


if __name__ == "__main__":
  CONFIG = command_line.define_config("experiments/quickstart.py")
  command_line.run(main)
