"""Trains and tests a recipe, and draws its figures.

  python -m launch.train                                                     the quickstart
  python -m launch.train --config=omniglot_maml --config.seed=1 --workdir=runs/maml1
  python -m launch.train --config=omniglot:ridge                            one learner of a recipe with several
  python -m launch.train --config=mine.py                                   a recipe file of yours
  python -m launch.train --config.training.steps=900 --fork=runs/quickstart --workdir=runs/longer

The same command resumes an interrupted run, and with more --config.training.steps it continues a finished one.
On SIGTERM, the run saves and exits with code 75, to be started again.
"""

import dataclasses
from pathlib import Path
import sys

from absl import flags

from launch import command_line, find, tuned
from metajax.lab import run as runs
from metajax.lab import workdir
from metajax.lab.dry_run import dry_run
from metajax.lab.fork import fork
from metajax.lab.preemption import Preempted, stop_on_signals
from metajax.lab.provenance import provenance
from metajax.lab.recipe import data_of
from metajax.lab.reports import summary, weights_and_biases
from metajax.training import hosts

_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "compile, report the memory and FLOPs of a step, and stop")
_FORK = flags.DEFINE(command_line.Folder(), "fork", None,
                     "the workdir of a run to continue in a new workdir, with other settings")
_TUNED = flags.DEFINE_boolean("tuned", False, "use the settings that benchmarks.autotune found fastest on this machine")
_WANDB = flags.DEFINE_string("wandb_project", None, "also send metrics to this project of Weights & Biases; needs the "
                             "extra metajax[wandb]")
_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None, "the folder for results; by default runs/<recipe>")


def main(_: list[str]) -> None:
  name, config = CONFIG()
  if _TUNED.value:
    print("Tuned: " + " ".join(tuned.apply(name, config)))
  built = command_line.build(name, config)
  command_line.prepare()
  if _DRY_RUN.value:
    dry_run(built)
    return
  settings, about = dataclasses.asdict(config), provenance(data_of(built), find.locate(name))
  folder = Path(_WORKDIR.value or f"runs/{command_line.run_name(name)}")
  name = command_line.recorded(folder, name)
  writers = [] if _WANDB.value is None else [weights_and_biases.opener(folder, _WANDB.value, settings)]
  if hosts.is_writer():
    if _FORK.value:
      fork(_FORK.value, folder, built, name, settings, about)
    else:
      workdir.claim(folder, name, settings, about, may_lengthen=True,
                    defaults=dataclasses.asdict(command_line.default_config(name)))
  hosts.wait("the workdir is claimed")
  with stop_on_signals() as stop:
    try:
      results = runs.run(built, folder, stop_requested=hosts.together(stop), writers=writers)
    except Preempted as preempted:
      if hosts.is_writer():
        print(preempted, file=sys.stderr)
      raise SystemExit(stop.exit_code) from None
  if not hosts.is_writer():
    return
  print()
  summary.show({measure: str(result) for measure, result in results.items()},
               {"report": str(folder / "report.html"), "everything": f"{folder}/"},
               [("test again", f"python -m launch.evaluate --workdir={folder}"),
                ("watch curves", f"tensorboard --logdir={folder}/tensorboard"),
                ("other recipes", "python -m launch.recipes")])


if __name__ == "__main__":
  CONFIG = command_line.define_config("quickstart")
  command_line.run(main, in_pods=True)
