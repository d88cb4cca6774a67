"""Finds the fastest task layout on this machine and stores it.

  python -m benchmarks.autotune --config=omniglot_maml        run nothing else meanwhile
  python -m launch.train --config=omniglot_maml --tuned       uses the stored layout
Every candidate is compiled and run in its own process. Candidates that are not ready in time are dropped. All
candidates compute the same result up to rounding.
"""

import itertools
import statistics
import subprocess
import sys
import time
from typing import Any

from absl import flags
import jax

from launch import command_line, pods, tuned
from metajax.lab import memory
from metajax.lab.recipe import Recipe
from metajax.training.sharding import replicate, task_mesh, usable_devices
from metajax.training.step import init_state, make_advance

_LIMIT = flags.DEFINE_float("limit", 90, "time limit of a candidate in seconds, including compilation")
_CANDIDATE = flags.DEFINE_boolean("candidate", False, "time the recipe unchanged; the command uses this internally")
_WINDOWS = 5


def main(_: list[str]) -> None:
  name, config = CONFIG()
  if _CANDIDATE.value:
    memory.keep_freed_memory()  # as in the run
    print(seconds_a_step(command_line.build(name, config)))
    return
  tasks = config.training.tasks_per_step
  choices: dict[str, list[Any]] = {"training.task_chunk": [0] + [chunk for chunk in (1, 4, 16) if chunk < tasks]}
  times = {}
  for values in itertools.product(*choices.values()):
    settings = dict(zip(choices, values))
    said = " ".join(f"{field}={value}" for field, value in settings.items())
    times[values] = _in_a_process(settings)
    print(f"{said}: " + (f"{1e3 * times[values]:.3g} ms per step" if times[values] < float("inf") else "out"),
          flush=True)
  best = min(times, key=lambda values: times[values])
  if times[best] == float("inf"):
    raise ValueError(f"no candidate was ready within {_LIMIT.value:.0f} seconds; increase --limit.")
  path = tuned.remember(name, dict(zip(choices, best)))
  print(f"Stored in {path}; use it with --tuned.")


def seconds_a_step(recipe: Recipe) -> float:
  """Returns the median time of a meta-step."""
  mesh = task_mesh(usable_devices(recipe.training.tasks_per_step))
  state = replicate(init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, jax.random.key(0)), mesh)
  data = replicate(recipe.train_tasks.data, mesh)
  steps = recipe.training.steps_per_dispatch
  advance = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=jax.random.key(0), mesh=mesh,
                         num_tasks=recipe.training.tasks_per_step, num_steps=steps)
  times = []
  for _ in range(_WINDOWS + 1):  # the first call compiles
    start = time.perf_counter()
    state, metrics = advance(state, data)
    jax.block_until_ready(metrics)
    times.append((time.perf_counter() - start) / steps)
  return statistics.median(times[1:])


def _in_a_process(settings: dict[str, Any]) -> float:
  """Returns the seconds per step, or infinity for a candidate that fails or is not ready in time."""
  command = pods.python(["benchmarks.autotune", *sys.argv[1:], "--candidate",
                         *(f"--config.{field}={value}" for field, value in settings.items())])
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT.value, check=False)
  except subprocess.TimeoutExpired:
    return float("inf")
  if done.returncode:
    print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "a candidate failed", file=sys.stderr)
    return float("inf")
  return float(done.stdout.split()[-1])


if __name__ == "__main__":
  CONFIG = command_line.define_config("omniglot_maml")
  command_line.run(main)
