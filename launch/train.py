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
import sys
from typing import Any, Callable

from absl import flags

from launch import command_line, find, tuned
from metajax.lab import run as runs
from metajax.lab import workdir
from metajax.lab.dry_run import dry_run
from metajax.lab.fork import fork
from metajax.lab.preemption import Preempted, stop_on_signals
from metajax.lab.provenance import provenance
from metajax.lab.recipe import Recipe, data_of
from metajax.lab.reports import summary, weights_and_biases
from metajax.lab.session import words_of_writer
from metajax.lab.working_copy import Workdir, working_copy
from metajax.training import hosts
from metajax.training.evaluation import Estimate

_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "compile, report the memory and FLOPs of a step, and stop")
_FORK = flags.DEFINE(command_line.Folder(), "fork", None,
                     "the workdir of a run to continue in a new workdir, with other settings")
_PROFILE = flags.DEFINE_integer("profile", 0, "the number of steps to profile, in whole rows after the first, for "
                                "TensorBoard's profile plugin", lower_bound=0)
_TUNED = flags.DEFINE_boolean("tuned", False, "use the settings that benchmarks.autotune found fastest on this machine")
_WANDB = flags.DEFINE_string("wandb_project", None, "also send metrics to this project of Weights & Biases; needs the "
                             "extra metajax[wandb]")
_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None, "the folder for results, which may be in a bucket "
                        "(gs://, s3://); by default runs/<recipe>")


def main(_: list[str]) -> None:
  name, config = CONFIG()
  if _TUNED.value:
    print("Tuned: " + " ".join(tuned.apply(name, config)))
  built = command_line.build(name, config)
  command_line.prepare()
  if _DRY_RUN.value:
    dry_run(built)
    return
  folder = _WORKDIR.value or f"runs/{command_line.run_name(name)}"
  with stop_on_signals() as stop, working_copy(folder) as copy:
    try:
      results = _run(name, config, built, copy, stop_requested=hosts.together(stop))
    except Preempted as preempted:
      if hosts.is_writer():
        print(preempted, file=sys.stderr)
      raise SystemExit(stop.exit_code) from None
  if not hosts.is_writer():
    return
  print()
  summary.show({measure: str(result) for measure, result in results.items()},
               {"report": f"{folder}/report.html", "everything": f"{folder}/"},
               [("test again", f"python -m launch.evaluate --workdir={folder}"),
                ("watch curves", f"tensorboard --logdir={folder}/tensorboard"),
                ("other recipes", "python -m launch.recipes")])


def _run(name: str, config: Any, built: Recipe, copy: Workdir, stop_requested: Callable[[], bool]
         ) -> dict[str, Estimate]:
  settings, about = dataclasses.asdict(config), provenance(data_of(built), find.locate(name))
  say = words_of_writer(lambda words: print(copy.named(words)))
  name = command_line.recorded(copy.folder, name)
  writers = [] if _WANDB.value is None else [weights_and_biases.opener(copy.folder, _WANDB.value, settings)]
  if hosts.is_writer():
    if _FORK.value:
      with working_copy(_FORK.value, writes=False) as source:
        fork(source.folder, copy.folder, built, name, settings, about, called=_FORK.value, say=say)
    else:
      workdir.claim(copy.folder, name, settings, about, say, may_lengthen=True,
                    defaults=dataclasses.asdict(command_line.default_config(name)))
  hosts.wait("the workdir is claimed")
  return runs.run(built, copy.folder, say=say, stop_requested=stop_requested, writers=writers, shared=copy.shared,
                  profile=_PROFILE.value)


if __name__ == "__main__":
  CONFIG = command_line.define_config("quickstart")
  command_line.run(main, in_pods=True)
