"""Where ConML spends its time when weights are adapted: the operations of the meta-step with and without it.

  python -m benchmarks.contrast_profile   about five minutes, run nothing else meanwhile; writes
                                          docs/results/contrast_profile.json and the tables in docs/performance.md
  python -m benchmarks.contrast_profile sinusoid
                                          only that recipe; the others are kept
The cases are those of `benchmarks.contrast_cost` that have a limit and adapt all weights. The page also gives a lower
bound for any implementation of ConML on this machine: its share of the matrix products, and the passes over the adapted
weights of all tasks.
"""

import collections
import json
from pathlib import Path
import sys
from typing import Any, Mapping, Sequence

import jax
import jax.numpy as jnp

from benchmarks import contrast_cost, tables
from benchmarks.interleaved import interleaved, ratio
from benchmarks.operations import Operation, operations
from metajax.lab import memory
from metajax.lab.recipe import Recipe

_RESULT = Path("docs/results/contrast_profile.json")
_PAGE = Path("docs/performance.md")
_COMMAND = "python -m benchmarks.contrast_profile"
_LONGEST = 8  # operations listed per table


def main(only: Sequence[str]) -> None:
  memory.keep_freed_memory()  # as in the command lines
  stored = json.loads(_RESULT.read_text(encoding="utf-8"))["results"] if only else []
  found = {contrast_cost.title(result): result for result in stored}
  for case in cases():
    if not only or case[0] in only:
      result = profile(*case)
      found[contrast_cost.title(result)] = result
  kept = {**tables.about(_COMMAND), "results": list(found.values())}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)
  print(_PAGE.read_text(encoding="utf-8").split(f"table: {_COMMAND} ")[1].split("<!--")[0])


def cases() -> list[tuple[str, str, Mapping[str, Any]]]:
  """Returns recipes, learners and settings."""
  return [(name, learner, settings) for name, learner, settings, most in contrast_cost.CASES
          if most and learner in ("maml", "fomaml")]


def profile(name: str, learner: str, settings: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the milliseconds per step of a case with and without ConML, in total and by operation."""
  recipe = contrast_cost.build(name, learner, settings, False)
  programs = {"plain": contrast_cost.program(recipe),
              "conml": contrast_cost.program(contrast_cost.build(name, learner, settings, True))}
  weights = jnp.ones((recipe.training.tasks_per_step, _count(recipe)), jnp.float32)
  one_pass = jax.jit(lambda x: x + 1)
  times = interleaved({"plain": programs["plain"].run, "conml": programs["conml"].run,
                       "pass": lambda: one_pass(weights)}, windows=7)
  steps = programs["plain"].steps
  return {"recipe": name, "learner": learner, "settings": dict(settings),
          "ratio": ratio(times["conml"], times["plain"]),
          "arithmetic": programs["conml"].flops / programs["plain"].flops,
          "pass_ms": 1e3 * times["pass"].median, "megabytes": weights.nbytes / 1e6,
          **{arm: {"ms": 1e3 * times[arm].median / steps, "gflops": each.flops / times[arm].median / 1e9,
                   "operations": [operation._replace(milliseconds=operation.milliseconds / steps)._asdict()
                                  for operation in operations(each.run, each.text, runs=1)]}
             for arm, each in programs.items()}}


def _count(recipe: Recipe) -> int:
  """Returns the number of weights that a task adapts."""
  inputs = jax.eval_shape(recipe.train_tasks.sample, recipe.train_tasks.data, jax.random.key(0)).support.inputs
  return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(recipe.learner.init, jax.random.key(0), inputs)))


def write(kept: Mapping[str, Any]) -> None:
  """Writes the page's tables from the stored results."""
  tables.insert(_PAGE, _COMMAND, [*(line for found in kept["results"] for line in _table(found)), tables.machine(kept)])


def _table(found: Mapping[str, Any]) -> list[str]:
  plain, conml = ({_name(operation): operation.milliseconds for operation in
                   (Operation(**each) for each in found[arm]["operations"])} for arm in ("plain", "conml"))
  more = collections.Counter(conml)
  more.subtract(plain)
  lines = [f"**{contrast_cost.title(found)}**: {found['ratio']:.2f} times the time of the plain step and "
           f"{found['arithmetic']:.2f} times its floating-point operations. The plain step takes "
           f"{found['plain']['ms']:.3g} ms at {found['plain']['gflops']:.0f} GFLOP/s, the step with ConML "
           f"{found['conml']['ms']:.3g} ms at {found['conml']['gflops']:.0f}. Reading and writing the weights of "
           f"all tasks once ({found['megabytes']:.3g} MB) takes {found['pass_ms']:.2g} ms.", "",
           "| operation of the compiled step | plain, ms (sum over both cores) | with ConML | difference |",
           "| --- | --- | --- | --- |"]
  lines += [_row(name, plain.get(name, 0.0), conml.get(name, 0.0)) for name, _ in more.most_common(_LONGEST)]
  others = [name for name, _ in more.most_common()[_LONGEST:]]
  return [*lines, _row(f"{len(others)} others", _sum(plain, others), _sum(conml, others)),
          _row("all", sum(plain.values()), sum(conml.values())), ""]


def _row(name: str, plain: float, conml: float) -> str:
  return f"| {name} | {plain:.3f} | {conml:.3f} | {conml - plain:.3f} |"


def _sum(times: Mapping[str, float], names: Sequence[str]) -> float:
  return sum(times.get(name, 0.0) for name in names)


def _name(operation: Operation) -> str:
  return f"{operation.name}, {'backward' if operation.backward else 'forward'}"


if __name__ == "__main__":
  main(sys.argv[1:])
