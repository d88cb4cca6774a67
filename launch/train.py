"""Trains, tests and pictures a recipe.

  python -m launch.train                                                     the quickstart
  python -m launch.train --config=experiments/omniglot_maml.py --config.seed=1 --workdir=runs/maml1
  python -m launch.train --config=experiments/omniglot.py:ridge              one learner of a recipe for many

The same command again goes on where the run was left.
"""

import dataclasses

from absl import flags

from launch import command_line
from metajax import recipe, workdir
from metajax.reports import summary

_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "compile, say what memory and arithmetic a step takes, and stop")
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go; by default runs/<recipe>")


def main(_: list[str]) -> None:
  name, config = CONFIG()
  built = command_line.build(name, config)
  if _DRY_RUN.value:
    command_line.use_compilation_cache()
    recipe.dry_run(built)
    return
  folder = workdir.claim(_WORKDIR.value or f"runs/{command_line.run_name(name)}", name, dataclasses.asdict(config))
  command_line.use_compilation_cache()
  results = recipe.run(built, folder)
  print()
  summary.show({measure: str(result) for measure, result in results.items()},
               {"report": str(folder / "report.html"), "everything": f"{folder}/"},
               [("test again", f"python -m launch.evaluate --workdir={folder}"),
                ("watch curves", f"tensorboard --logdir={folder}/tensorboard"),
                ("other recipes", "python -m launch.recipes")])


if __name__ == "__main__":
  CONFIG = command_line.define_config("experiments/quickstart.py")
  command_line.run(main)
