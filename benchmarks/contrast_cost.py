"""What ConML costs: a meta-step with it over the plain one, the same recipe, K = 1, the support set as the view.

  python -m benchmarks.contrast_cost        measures (nothing else may run), writes docs/results/contrast_cost.json
                                            and the table in docs/performance.md
Recipes as they are, but for at least 25 tasks a step, as many queries as shots where weights are adapted, and images
rendered from fonts. "Arithmetic" is the same ratio of floating-point operations (`metajax.cost.flops`).
"""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, Callable

import jax

from benchmarks import tables
from benchmarks.interleaved import interleaved, ratio
from metajax.cost import flops
from metajax.recipe import Recipe
from metajax.sharding import replicated, task_mesh
from metajax.training import init_state, make_advance

_RESULT = Path("docs/results/contrast_cost.json")
_PAGE = Path("docs/performance.md")

_LIKE_SUPPORT = {"train_queries": 1, "norm": "group"}

# Recipe and learner, settings beside the recipe's own, and the most that ConML may cost.
_CASES = (
    ("sinusoid", "maml", {}, 1.75),
    ("sinusoid", "fomaml", {}, 1.75),
    ("icl_linear", None, {}, 1.3),
    ("omniglot", "protonet", {"max_pool": False, "train_ways": 0, "filters": 64}, 1.05),
    ("omniglot", "matchingnet", {"filters": 64}, 1.05),
    ("omniglot", "ridge", {"filters": 64}, 1.05),
    ("omniglot", "anil", {"filters": 64}, 1.05),
    ("omniglot", "maml", {**_LIKE_SUPPORT, "task_chunk": 0}, 1.75),
    ("omniglot", "fomaml", {**_LIKE_SUPPORT, "task_chunk": 0}, 1.75),
    ("omniglot", "maml", {**_LIKE_SUPPORT, "task_chunk": 1}, None),
    ("omniglot", "maml", {"train_queries": 1, "norm": "batch", "task_chunk": 0}, None),
    ("sinusoid", "metasgd", {}, None),
    ("sinusoid", "reptile", {}, None),
    ("sinusoid", "imaml", {}, None),
    ("sinusoid", "cnp", {}, None),
    ("omniglot", "relationnet", {"filters": 64}, None),
    ("omniglot", "simple_cnaps", {}, None),
    ("omniglot", "in_context", {}, None),
)


def main() -> None:
  results = []
  for name, learner, settings, bar in _CASES:
    both = {conml: _steps(_build(name, learner, settings, conml)) for conml in (False, True)}
    times = interleaved({str(conml): program[0] for conml, program in both.items()})
    plain, contrasted = (times[str(conml)] for conml in (False, True))
    steps = both[False][1]
    arithmetic = both[True][2] / both[False][2]
    results.append({
        "recipe": name, "learner": learner, "settings": settings, "most": bar, "ratio": ratio(contrasted, plain), "arithmetic": arithmetic,
        "plain_ms": 1e3 * plain.median / steps, "conml_ms": 1e3 * contrasted.median / steps,
        "range": [min(map(_divide, contrasted.wall, plain.wall)), max(map(_divide, contrasted.wall, plain.wall))]})
    print(f"{_name(results[-1])}: {results[-1]['plain_ms']:.3g} ms plain, ConML {results[-1]['ratio']:.2f} times that",
          flush=True)
    kept = {**tables.about("python -m benchmarks.contrast_cost"), "results": results}
    _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the table of the page from what is kept."""
  rows = ["| recipe | plain, ms a step | with ConML, times that (range of windows) | arithmetic | bar |",
          "| --- | --- | --- | --- | --- |"]
  for result in kept["results"]:
    low, high = result["range"]
    rows.append(f"| {_name(result)} | {result['plain_ms']:.3g} | **{result['ratio']:.2f}** ({low:.2f} to {high:.2f}) "
                f"| {result['arithmetic']:.2f} | {result['most'] or ''} |")
  tables.insert(_PAGE, kept["command"], [*rows, "", tables.machine(kept)])


def _build(name: str, learner: str | None, settings: dict[str, Any], conml: bool) -> Recipe:
  module = importlib.import_module(f"experiments.{name}")
  config = module.get_config(learner) if learner else module.get_config()
  data = {"data": "glyphs"} if hasattr(config, "data") else {}
  tasks = max(25, config.training.tasks_per_step)
  settings = dict(settings)
  chunk = settings.pop("task_chunk", getattr(config.training, "task_chunk", None))
  config = dataclasses.replace(config, **settings, **data, conml=conml, training=dataclasses.replace(
      config.training, tasks_per_step=tasks, task_chunk=chunk))
  return module.build(config)


def _steps(recipe: Recipe) -> tuple[Callable[[], Any], int, int]:
  """Returns a program that trains on from where it was, the steps it does in a call, and their arithmetic."""
  mesh = task_mesh(jax.devices()[:1])
  steps = recipe.training.steps_per_dispatch
  key = jax.random.key(0)
  state = jax.device_put(init_state(recipe.learner, recipe.optimizer, recipe.train_tasks, key), replicated(mesh))
  advance = make_advance(recipe.objective, recipe.optimizer, recipe.train_tasks, key=key, mesh=mesh, num_steps=steps,
                         num_tasks=recipe.training.tasks_per_step)
  arithmetic = flops(jax.make_jaxpr(advance)(state, recipe.train_tasks.data).jaxpr)
  held = [state]

  def run():
    held[0], metrics = advance(held[0], recipe.train_tasks.data)
    return metrics

  return run, steps, arithmetic


def _name(result: dict[str, Any]) -> str:
  settings = ", ".join(f"{field}={value}" for field, value in result["settings"].items())
  recipe = result["recipe"] + (f":{result['learner']}" if result["learner"] else "")
  return f"{recipe} ({settings})" if settings else recipe


def _divide(a: float, b: float) -> float:
  return a / b


if __name__ == "__main__":
  main()
