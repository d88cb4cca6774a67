"""A model of the time of a step on large pods, from its operations, its bytes and the makers' data sheets.

  python -m benchmarks.pod_model       writes docs/results/pod_model.json and its table in docs/scaling.md
This is a model, not a measurement. Compute is operations / (peak x utilisation). An all-reduce of B bytes over N
devices moves 2 B (N - 1) / N bytes through the slowest link of each device, after a delay. Input costs nothing, since
episodes are sampled on the device.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import tables
from launch import find
from metajax.lab.cost import flops
from metajax.lab.recipe import Recipe
from metajax.training.sharding import task_mesh
from metajax.training.step import init_state, make_advance

_RESULT = Path("docs/results/pod_model.json")
_PAGE = Path("docs/scaling.md")
_COMMAND = "python -m benchmarks.pod_model"
_UTILISATION = 0.2  # of the peak; small networks with per-task weights reach no more


class Pod(NamedTuple):
  """The number of devices, and data sheet numbers of one device and its slowest link."""
  devices: int
  peak: float  # operations per second, dense bfloat16
  link: float  # bytes per second, in each direction
  delay: float  # latency of an all-reduce in seconds


_PODS = {"v5p-256": Pod(128, 459e12, 300e9, 20e-6), "64 H100": Pod(64, 989e12, 50e9, 40e-6)}
# Recipe, learner, settings, and the size of a representation; None: the number of parameters.
_CASES = {
    "omniglot_maml": ("omniglot", "maml", {"data": "glyphs", "norm": "batch"}, None),
    "omniglot_protonet": ("omniglot", "protonet", {"data": "glyphs", "norm": "batch"}, 20 * 64),
    "icl_linear, standard": ("icl_linear", None, {"size": "standard"}, 1)}
_REDUCTIONS = 4  # the gradient, the two means of the contrast, the metrics


def main() -> None:
  rows = []
  for name, (module_name, learner, settings, numbers) in _CASES.items():
    module = find.load(module_name)
    config = module.get_config(learner) if learner else module.get_config()
    tasks = 4
    config = dataclasses.replace(config, **settings, training=dataclasses.replace(
        config.training, tasks_per_step=tasks, task_chunk=0))
    of_task, parameters = _of_task(module.build(config), tasks)
    reduced = 4 * (parameters + 2 * (parameters if numbers is None else numbers))
    for pod_name, pod in _PODS.items():
      compute = of_task / (pod.peak * _UTILISATION)
      talk = _REDUCTIONS * pod.delay + 2 * reduced * (pod.devices - 1) / pod.devices / pod.link
      rows.append({"recipe": name, "pod": pod_name, "operations_of_a_task": of_task, "reduced_bytes": reduced,
                   "compute_of_a_task": compute, "collectives": talk,
                   "tasks_to_break_even": int(np.ceil(talk / compute)),
                   "tasks_per_second_at_nine_tenths": 0.9 * pod.devices / compute})
  kept = {**tables.about(_COMMAND), "utilisation": _UTILISATION, "rows": rows}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  lines = ["| recipe | pod | operations per task, 1e9 | all-reduced, MB | compute per task, us "
           "| collectives per step, us | tasks per device for 50 % compute time | for 90 % | tasks/s at 90 % |",
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
  for row in kept["rows"]:
    lines.append(f"| {row['recipe']} | {row['pod']} | {row['operations_of_a_task'] / 1e9:.2f} "
                 f"| {row['reduced_bytes'] / 1e6:.2f} | {1e6 * row['compute_of_a_task']:.1f} "
                 f"| {1e6 * row['collectives']:.0f} | {row['tasks_to_break_even']} | {9 * row['tasks_to_break_even']} "
                 f"| {row['tasks_per_second_at_nine_tenths']:,.0f} |")
  tables.insert(_PAGE, _COMMAND, [*lines, "", tables.machine(kept)])


def _of_task(recipe: Recipe, tasks: int) -> tuple[float, int]:
  """Returns the operations per task and the number of parameters."""
  mesh = task_mesh(jax.devices()[:1])
  state = jax.eval_shape(lambda: init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, jax.random.key(0)))
  advance = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=jax.random.key(0), mesh=mesh,
                         num_tasks=tasks, num_steps=1)
  traced = jax.make_jaxpr(advance)(state, recipe.train_tasks.data)
  return flops(traced.jaxpr) / tasks, sum(leaf.size for leaf in jax.tree.leaves(state.params))


if __name__ == "__main__":
  main()
