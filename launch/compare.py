"""Compares several arms of a recipe: trains them with the same seeds and tests them on the same episodes.

  python -m launch.compare --config=sinusoid_maml --seeds=8 --arms=none,in,out,both
  python -m launch.compare --config=sinusoid_maml --arms=none,config.contrast.weight=0.03,0.1,1
  python -m launch.compare --config=omniglot:ridge --arms=none,both --config.training.steps=500

Arms are none (no ConML), in (D_in only), out (D_out only), both, and values of any field; all arms are compared with
the first. The same command resumes an interrupted comparison and skips finished arms. With more --seeds, it trains only
the missing ones.
"""

import dataclasses
import functools
import os
import sys
import time

from absl import flags
import jax

from launch import arms, command_line
from metajax.lab import compare, workdir
from metajax.lab.comparison_results import Sweep
from metajax.lab.reports import comparison
from metajax.lab.working_copy import working_copy

_ARMS = flags.DEFINE_string("arms", "none,in,out,both", "names of arms, or config.<field>=<value>,<value>")
_SEEDS = flags.DEFINE_integer("seeds", 8, "the number of seeds; the first is that of the recipe", lower_bound=2)
_SWEEPS = flags.DEFINE_string("sweeps", None, "test settings to vary with the trained models, "
                              "config.<field>=<value>,<value>; by default those of the recipe, `none` for none")
_AT_ONCE = flags.DEFINE_integer("seeds_at_once", None, "the number of seeds trained together; by default all, or one "
                                "for large networks on CPU", lower_bound=1)
_WORKDIR = flags.DEFINE(command_line.Folder(), "workdir", None,
                        "the folder for results, which may be in a bucket (gs://, s3://); by default "
                        "runs/compare_<recipe>")


def main(_: list[str]) -> None:
  name, config = CONFIG()
  configs = arms.parse(config, _ARMS.value)
  text = command_line.own_sweeps(name, config) if _SWEEPS.value is None else _SWEEPS.value
  sweeps = arms.parse_sweeps(config, "" if text == "none" else text)
  command_line.prepare()
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # arms are tested by similar programs
  if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    jax.config.update("jax_num_cpu_devices", _cores())  # seeds are sharded over cores
  for own in configs.values():
    command_line.build(name, own)  # errors of every arm are reported before the first is trained
  build = lambda own, changes: command_line.make(name, arms.changed(own, changes))
  each = [compare.Arm(arm, functools.partial(build, own)) for arm, own in configs.items()]
  seeds = range(config.seed, config.seed + _SEEDS.value)
  others = command_line.compared_with(name, config) if sweeps else {}
  further = [Sweep(field, values, others.get(field, {})) for field, values in sweeps.items()]
  if any(recipe.reading is not None for recipe in compare.check(each, seeds, further)):
    print("Comparisons do not prefetch examples, with or without workers: each step fetches its own examples.",
          file=sys.stderr)
  path = _WORKDIR.value or f"runs/compare_{command_line.run_name(name)}"
  began = time.monotonic()
  with working_copy(path) as copy:
    folder = workdir.claim(copy.folder, command_line.recorded(copy.folder, name), {
        **dataclasses.asdict(config), "arms": list(configs),
        "sweeps": {field: list(values) for field, values in sweeps.items()}})
    results = compare.compare(
        each, seeds=seeds, folder=folder, sweeps=further, group=_AT_ONCE.value,
        say=lambda words: print(copy.named(words)),
        about={"command": " ".join(["python -m launch.compare", *sys.argv[1:]]), "recipe": name,
               "config": dataclasses.asdict(config)})
  for header, rows in (comparison.main_table(results), comparison.models_table(results)):
    print(comparison.columns([list(row) for row in zip(header, *rows)]))  # one column per arm, which is narrower
  print("\n" + "\n".join(comparison.verdicts(results)))
  print(f"{(time.monotonic() - began) / 60:.1f} minutes. Results are in {path}; see {path}/report.html.")


def _cores() -> int:
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
  CONFIG = command_line.define_config("sinusoid_maml")
  command_line.run(main)
