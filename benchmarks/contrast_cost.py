"""What ConML costs: the time of a meta-step with ConML relative to the plain step of the same recipe.

  python -m benchmarks.contrast_cost              measures (run nothing else meanwhile), writes the table in
                                                  docs/performance.md and docs/results/contrast_cost.json
  python -m benchmarks.contrast_cost sinusoid omniglot:maml
                                                  only the rows whose names begin so; the others are kept
K = 1, with the support set as the view. The recipes are unchanged except for three settings: at least 25 tasks per
step, as many queries as shots where weights are adapted, and images rendered from fonts. "Arithmetic" is the same ratio
of floating-point operations (`metajax.lab.cost.flops`).
"""

import dataclasses
import json
from pathlib import Path
import sys
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import jax

from benchmarks import tables
from benchmarks.interleaved import interleaved, ratio
from launch import find
from metajax.lab import memory
from metajax.lab.cost import flops
from metajax.lab.recipe import Recipe
from metajax.training.sharding import replicate, task_mesh
from metajax.training.step import init_state, make_advance

_RESULT = Path("docs/results/contrast_cost.json")
_PAGE = Path("docs/performance.md")
_WINDOWS = 21  # of half a second each: the speed of a machine drifts by a tenth within minutes

_LIKE_SUPPORT = {"train_queries": 1, "norm": "group"}

# Recipe and learner, settings that differ from the recipe's, and the largest ratio that ConML may cost.
CASES = (
    ("sinusoid", "maml", {}, 1.75),
    ("sinusoid", "fomaml", {}, 1.75),
    ("icl_linear", None, {}, 1.3),
    ("omniglot", "protonet", {"max_pool": False, "train_ways": 0, "filters": 64, "task_chunk": 0}, 1.05),
    ("omniglot", "matchingnet", {"filters": 64, "task_chunk": 0}, 1.05),
    ("omniglot", "ridge", {"filters": 64, "task_chunk": 0}, 1.05),
    ("omniglot", "anil", {"filters": 64, "task_chunk": 0}, 1.05),
    ("omniglot", "maml", {**_LIKE_SUPPORT, "task_chunk": 0}, 1.75),
    ("omniglot", "fomaml", {**_LIKE_SUPPORT, "task_chunk": 0}, 1.75),
    ("omniglot", "maml", {**_LIKE_SUPPORT, "task_chunk": 1}, None),
    ("omniglot", "maml", {"train_queries": 1, "norm": "batch", "task_chunk": 0}, None),
    ("sinusoid", "maml", {"tasks_per_step": 100}, None),  # is the overhead smaller when each operation is larger?
    ("sinusoid", "fomaml", {"tasks_per_step": 100}, None),
    ("sinusoid", "metasgd", {}, None),
    ("sinusoid", "reptile", {}, None),
    ("sinusoid", "imaml", {}, None),
    ("sinusoid", "cnp", {}, None),
    ("omniglot", "relationnet", {"filters": 64, "task_chunk": 0}, None),
    ("omniglot", "protonet", {"max_pool": False, "train_ways": 0, "filters": 64, "task_chunk": 1}, None),
    ("omniglot", "ridge", {"filters": 64, "task_chunk": 1}, None),
)


def main(only: Sequence[str]) -> None:
  memory.keep_freed_memory()  # as in the command lines
  stored = json.loads(_RESULT.read_text(encoding="utf-8")) if only else {"results": []}
  names = [title({"recipe": name, "learner": learner, "settings": settings}) for name, learner, settings, _ in CASES]
  if unknown := [word for word in only if not any(name.startswith(word) for name in names)]:
    raise ValueError(f"no row begins with {', '.join(unknown)}; the rows are {'; '.join(names)}.")
  kept = {**stored, "results": [result for result in stored["results"] if title(result) in names]}  # that still exist
  for row, (name, learner, settings, bar) in zip(names, CASES, strict=True):
    if only and not row.startswith(tuple(only)):
      continue
    plain, contrasted = (program(build(name, learner, settings, conml)) for conml in (False, True))
    times = interleaved({"plain": plain.run, "conml": contrasted.run}, windows=_WINDOWS)
    found = {
        "recipe": name, "learner": learner, "settings": settings, "most": bar,
        "machine": tables.about("")["machine"],
        "ratio": ratio(times["conml"], times["plain"]), "arithmetic": contrasted.flops / plain.flops,
        "plain_ms": 1e3 * times["plain"].median / plain.steps, "conml_ms": 1e3 * times["conml"].median / plain.steps,
        "range": [pick(slow / fast for slow, fast in zip(times["conml"].wall, times["plain"].wall))
                  for pick in (min, max)]}
    print(f"{title(found)}: {found['plain_ms']:.3g} ms plain, ConML {found['ratio']:.2f} times as long", flush=True)
    others = [result for result in kept["results"] if title(result) != title(found)]
    kept = {**tables.about("python -m benchmarks.contrast_cost"),
            "results": sorted([*others, found], key=lambda result: names.index(title(result)))}
    _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results; rows from another machine than the last are marked."""
  elsewhere = sorted({result["machine"] for result in kept["results"]} - {kept["machine"]})
  marks = {kept["machine"]: "", **{machine: "\\*" * count for count, machine in enumerate(elsewhere, 1)}}
  rows = ["| recipe | plain, ms per step | ConML / plain (range over windows) | arithmetic | limit |",
          "| --- | --- | --- | --- | --- |"]
  for result in kept["results"]:
    low, high = result["range"]
    rows.append(f"| {title(result)}{marks[result['machine']]} | {result['plain_ms']:.3g} | **{result['ratio']:.2f}** "
                f"({low:.2f} to {high:.2f}) | {result['arithmetic']:.2f} | {result['most'] or ''} |")
  notes = [f"{marks[machine]} From an older run on {machine}." for machine in elsewhere]
  tables.insert(_PAGE, kept["command"], [*rows, "", tables.machine(kept), *notes])


def build(name: str, learner: str | None, settings: Mapping[str, Any], conml: bool) -> Recipe:
  """Returns the recipe of a case, with or without ConML."""
  module = find.load(name)
  config = module.get_config(learner) if learner else module.get_config()
  data = {"data": "glyphs"} if hasattr(config, "data") else {}
  settings = dict(settings)
  tasks = settings.pop("tasks_per_step", max(25, config.training.tasks_per_step))
  chunk = settings.pop("task_chunk", getattr(config.training, "task_chunk", None))
  if name == "omniglot":
    settings = {"norm": "batch", **settings}
  config = dataclasses.replace(config, **settings, **data, conml=conml, training=dataclasses.replace(
      config.training, tasks_per_step=tasks, task_chunk=chunk))
  return module.build(config)


class Program(NamedTuple):
  """A training run that continues at every call, one dispatch per call."""
  run: Callable[[], Any]
  steps: int  # per call
  flops: int  # per call
  text: str  # the compiled program


def program(recipe: Recipe) -> Program:
  """Returns the compiled training of a recipe on one device."""
  mesh = task_mesh(jax.devices()[:1])
  steps = recipe.training.steps_per_dispatch
  key = jax.random.key(0)
  state = replicate(init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, key), mesh)
  advance = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=key, mesh=mesh, num_steps=steps,
                         num_tasks=recipe.training.tasks_per_step)
  arithmetic = flops(jax.make_jaxpr(advance)(state, recipe.train_tasks.data).jaxpr)
  compiled, held = advance.lower(state, recipe.train_tasks.data).compile(), [state]

  def run():
    held[0], metrics = compiled(held[0], recipe.train_tasks.data)
    return metrics

  return Program(run, steps, arithmetic, compiled.as_text())


def title(result: Mapping[str, Any]) -> str:
  """Returns the title of a row."""
  settings = ", ".join(f"{field}={value}" for field, value in result["settings"].items())
  recipe = result["recipe"] + (f":{result['learner']}" if result["learner"] else "")
  return f"{recipe} ({settings})" if settings else recipe


if __name__ == "__main__":
  main(sys.argv[1:])
