"""Episodes per second of each input pipeline, and the share of a training step that sampling takes.

  python -m benchmarks.data        measures (run nothing else meanwhile), writes docs/results/data.json and the table in
                                   docs/data.md

5-way 1-shot episodes with 15 queries per class, in meta-batches of 32. The images are Omniglot and CIFAR-FS
(METAJAX_DATA_DIR), or glyphs if neither is available. `device` is the compiled sampler of `class_tasks`; `host` is the
same with the images in host memory; grain prefetches in a thread or in worker processes. All deliver the same episodes
to the device.
"""

import json
from pathlib import Path
import sys
import time
from typing import Any, Callable

from absl import app
import jax
import jax.numpy as jnp

from benchmarks import tables
from benchmarks.interleaved import interleaved
from metajax import learners, losses, networks, objectives
from metajax.data import cifar100, glyphs, omniglot
from metajax.tasks.augmentation import augmented, crop, flip, jitter
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import class_tasks
from metajax.tasks.sampling import sample_tasks
from metajax.training.pipeline import Reading, meta_batches

_RESULT = Path("docs/results/data.json")
_PAGE = Path("docs/data.md")
_SHAPE = {"ways": 5, "shots": 1, "queries": 15}
_TASKS = 32
_SECONDS = 4.0  # of reading from grain, after the batches that were prefetched before timing began
_AHEAD = 8  # meta-batches; more than threads and workers prefetch


def main(arguments: list[str]) -> None:
  del arguments
  rows = []
  for name, load in (("Omniglot", omniglot.load), ("CIFAR-FS", cifar100.load), ("glyphs", glyphs.load)):
    if name == "glyphs" and rows:
      break
    try:
      source = load("train")
    except FileNotFoundError as error:
      print(f"{name} is skipped: {error}", file=sys.stderr)
      continue
    found = {**_compiled(source, name == "CIFAR-FS"), **{f"grain, {workers} workers": _grain(source, workers)
                                                        for workers in (0, 1, 2)}}
    share = _share(source)
    rows.append({"data": name, "megabytes": source.examples.nbytes / 2**20, "episodes_per_second": found,
                 "share_of_step": share})
    print(name, {way: round(value) for way, value in found.items()}, f"sampling takes {100 * share:.2f} % of a step",
          flush=True)
  kept = {**tables.about("python -m benchmarks.data"), "results": rows}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  lines = ["| data | pipeline | episodes per second |", "| --- | --- | --- |"]
  for row in kept["results"]:
    lines += [f"| {row['data']} ({row['megabytes']:.0f} MiB) | {way} | {value:,.0f} |"
              for way, value in row["episodes_per_second"].items()]
  shares = ", ".join(f"{100 * share:.2f} % {where}" for row in kept["results"] for where, share in _shares(row).items())
  lines += ["", f"Sampling on the device takes {shares} of a training step of ProtoNet with a 64-filter Conv4. "
            + tables.machine(kept)]
  tables.insert(_PAGE, kept["command"], lines)


def _shares(row: dict[str, Any]) -> dict[str, float]:
  """Returns the share of a step that sampling takes, as is and with the recipes' augmentation."""
  plain, rates = row["share_of_step"], row["episodes_per_second"]
  shares = {f"on {row['data']}": plain}
  if "device, augmented" in rates:
    drawn = plain * rates["device"] / rates["device, augmented"]
    shares["there with augmentation (from the rates above)"] = drawn / (1 - plain + drawn)
  return shares


def _draw(tasks) -> Callable[[], Any]:
  """Returns a program that samples 32 new episodes at each call."""
  key, calls = jax.random.key(0), iter(range(10**9))
  places = jnp.arange(_TASKS, dtype=jnp.int32)
  draw = jax.jit(lambda data, step: sample_tasks(tasks, data, jax.random.fold_in(key, step), places))
  return lambda: draw(tasks.data, next(calls))


def _compiled(source: ClassData, photographs: bool) -> dict[str, float]:
  device = class_tasks(source, **_SHAPE)
  programs = {"device": _draw(device), "host": _draw(class_tasks(source, **_SHAPE, on_host=True))}
  if photographs:
    programs["device, augmented"] = _draw(augmented(device, crop(4), flip, jitter()))
  return {name: _TASKS / times.median for name, times in interleaved(programs, windows=5).items()}


def _grain(source: ClassData, workers: int) -> float:
  tasks = class_tasks(source, **_SHAPE, on_host=True)
  batches = meta_batches(tasks, jax.random.key(0), num_tasks=_TASKS, num_steps=10**6, reading=Reading(workers))
  for _ in range(_AHEAD):  # the workers start and compile
    jax.block_until_ready(next(batches))
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < _SECONDS:
    jax.block_until_ready(next(batches))
    count += 1
  seconds = time.perf_counter() - start
  batches.close()
  return count * _TASKS / seconds


def _share(source: ClassData) -> float:
  """Returns the time to sample a meta-batch as a share of a whole step (sampling, loss and gradient)."""
  learner = learners.protonet(networks.conv4(weights="shared"), num_classes=5)
  objective = objectives.episodic(learner, losses.softmax_cross_entropy)
  tasks = class_tasks(source, **_SHAPE)
  params = jax.jit(learner.init)(jax.random.key(0), tasks.sample(tasks.data, jax.random.key(0)).support.inputs)
  draw = _draw(tasks)
  gradient = jax.jit(lambda params, episodes: jax.grad(objective, has_aux=True)(params, episodes, jax.random.key(0)))
  times = interleaved({"draw": draw, "step": lambda: gradient(params, draw())}, windows=3, seconds=1.0)
  return times["draw"].median / times["step"].median


if __name__ == "__main__":
  app.run(main)  # grain's worker processes need absl's flags
