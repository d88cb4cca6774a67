"""Repeats one step of a run, and reports which of its values are non-finite.

  python -m launch.replay --workdir=runs/quickstart --step=120

The episodes of the step are written to step_<n>.npz in the workdir, which is otherwise unchanged.
"""

from absl import flags

from launch import command_line, fields
from metajax.lab import replay, workdir
from metajax.lab.working_copy import working_copy

_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None, "the workdir of the run; required")
_STEP = flags.DEFINE_integer("step", None, "the step, counted from 1; required", lower_bound=1)


def check_flags() -> tuple[str, int]:
  """Returns the workdir and the step; raises ValueError if one is missing. Launchers call this before they start."""
  if not _WORKDIR.value or _STEP.value is None:
    raise ValueError("--workdir and --step are both needed: --workdir=runs/<recipe> --step=120.")
  return _WORKDIR.value, _STEP.value


def main(_: list[str]) -> None:
  folder, step = check_flags()
  with working_copy(folder, beside=True) as copy:
    run = workdir.read(copy.folder)
    config = fields.from_mapping(command_line.default_config(run["recipe"]), run["config"])
    command_line.prepare()
    replay.replay(command_line.build(run["recipe"], config), copy.folder, step,
                  say=lambda words: print(copy.named(words)), shared=copy.shared)


if __name__ == "__main__":
  command_line.run(main, in_pods=True)
