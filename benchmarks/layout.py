"""Trains a recipe for a few steps in one layout of processes and devices, and measures the cost of a step.

  python -m benchmarks.layout <file.npz> <case> <devices> <shard_map or pmap> <float32 or float64> [--hosts=...]
Run by benchmarks.scaling, which compares layouts. Every process uses the first <devices> of its devices.
"""

import dataclasses
import json
import time
from typing import Any

from absl import app
import jax
import jax.numpy as jnp
import numpy as np
import optax

from launch import command_line, find
from metajax.lab import cost
from metajax.lab.recipe import Recipe
from metajax.training.hosts import is_writer, to_host, wait
from metajax.training.sharding import over_tasks, over_tasks_by_pmap, replicate, task_mesh
from metajax.training.step import init_state, make_advance

STEPS = 20
TASKS = 16
METRICS = ("loss", "d_in", "d_out")
# Recipe, learner and settings that differ from the recipe's.
CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "maml": ("omniglot", "maml", {"data": "glyphs", "filters": 16, "norm": "group", "train_queries": 2}),
    "protonet": ("omniglot", "protonet", {"data": "glyphs", "filters": 16, "train_ways": 5}),
    "transformer": ("icl_linear", None, {"size": "tiny"})}


def main(arguments: list[str]) -> None:
  command_line.connect()
  path, case, devices, mapping, precision = arguments[1:]
  jax.config.update("jax_enable_x64", precision == "float64")
  found = measure(build(case), int(devices), mapping, jnp.dtype(precision))
  if is_writer():
    np.savez(path, **found)  # type: ignore[arg-type]


def build(case: str) -> Recipe:
  """Returns a case's recipe with `TASKS` tasks per step, all in parallel, and one step per dispatch."""
  name, learner, settings = CASES[case]
  module = find.load(name)
  config = module.get_config(learner) if learner else module.get_config()
  return module.build(dataclasses.replace(config, **settings, training=dataclasses.replace(
      config.training, tasks_per_step=TASKS, steps_per_dispatch=1, task_chunk=0)))


def measure(recipe: Recipe, devices: int, mapping: str, precision: jnp.dtype) -> dict[str, np.ndarray]:
  """Returns the metrics of every step, the first gradient, the last parameters, and the cost of a step as JSON."""
  mesh = task_mesh(jax.devices()[:devices])
  mapped = {"shard_map": over_tasks, "pmap": over_tasks_by_pmap}[mapping]
  data = replicate(recipe.train_tasks.data, mesh)
  state = init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, jax.random.key(0))
  state = replicate(jax.tree.map(
      lambda leaf: leaf.astype(precision) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state), mesh)

  advance: Any = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=jax.random.key(1), mesh=mesh,
                              num_tasks=TASKS, num_steps=1, mapped=mapped)
  step = advance.lower(state, data).compile()
  wait("compiled")
  costs = cost.measure(advance, state, data, state.params, step)
  history, seconds, gradient = [], [], None
  for _ in range(STEPS):
    start = time.perf_counter()
    state, metrics = step(state, data)
    history.append({name: float(np.mean(value)) for name, value in jax.device_get(metrics).items()})
    seconds.append(time.perf_counter() - start)
    if gradient is None:  # after one step, Adam's first moment is a tenth of the gradient
      gradient = 10 * _vector(optax.tree.get(state.opt_state, "mu"))
  collectives = {kind: sum(sizes) for kind, sizes in cost.collectives(step).items()}
  about = {"flops": costs.flops, "collectives": collectives, "parameters": costs.parameters,
           "memory_bytes": costs.state_bytes + costs.data_bytes + costs.working_bytes,
           "seconds": float(np.median(seconds[STEPS // 2:]))}
  assert gradient is not None
  return {"gradient": gradient, "parameters": _vector(state.params), "about": np.asarray(json.dumps(about)),
          **{name: np.asarray([row[name] for row in history]) for name in METRICS}}


def _vector(tree: Any) -> np.ndarray:
  return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(to_host(tree))])


if __name__ == "__main__":
  app.run(main)
