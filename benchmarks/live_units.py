"""Why an arm of a comparison on sinusoids is better or worse: live hidden units and the norm of the weights.

  python -m benchmarks.live_units runs/verdict/sinusoid_maml runs/verdict/sinusoid_maml_init

Reads the checkpoints of `launch.compare`, stores the results in docs/results/live_units.json and writes the table of
docs/results.md. A unit of a ReLU layer is alive if, at the shared parameters, it is positive for some input of the task
distribution (-5 to 5). A dead unit receives no gradient from the episodic loss.
"""

import json
from pathlib import Path
import sys
from typing import Any

import jax
import numpy as np

from benchmarks import tables
from experiments.regression import sinusoid
from launch import arms
from launch.fields import from_mapping
from metajax.lab import seeds as seeds_lib
from metajax.lab import statistics

_RESULT = Path("docs/results/live_units.json")
_PAGE = Path("docs/results.md")
_COMMAND = "python -m benchmarks.live_units"
_NAMES = "none,in,out,both"


def main(folders: list[str]) -> None:
  kept = json.loads(_RESULT.read_text(encoding="utf-8")) if _RESULT.exists() else {"results": {}}
  for folder in map(Path, folders):
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    config = from_mapping(sinusoid.get_config(found["config"]["learner"]), found["config"])
    kept["results"][folder.name] = {
        name: _of_arm(own, found["seeds"], folder / name) for name, own in arms.parse(config, _NAMES).items()
        if name in found["arms"]}
  kept = {**tables.about(f"{_COMMAND} {' '.join(folders)}"), "results": kept["results"]}
  _RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  rows = ["| comparison | arm | units alive, layer by layer | norm of all weights |", "| --- | --- | --- | --- |"]
  for name, each in kept["results"].items():
    for arm, found in each.items():
      layers = ", ".join(f"{_shown(layer)} of {layer['units']}" for layer in found["alive"])
      rows.append(f"| {name} | {arm} | {layers} | {_shown(found['norm'])} |")
  tables.insert(_PAGE, _COMMAND, [*rows, "", tables.machine(kept)])


def alive(params: Any, inputs: np.ndarray) -> list[np.ndarray]:
  """Returns, for each hidden layer of an `mlp` with ReLU, which units `[units]` are positive for some input.

  Args:
    params: of one seed.
    inputs: `[N, inputs]`.
  """
  layers = [params[f"Dense_{number}"] for number in range(len(params))]
  found = []
  for layer in layers[:-1]:
    inputs = np.maximum(inputs @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    found.append((inputs > 0).any(axis=0))
  return found


def _of_arm(config: sinusoid.Config, seeds: list[int], folder: Path) -> dict[str, Any]:
  trained = seeds_lib.train(sinusoid.build(config), seeds, folder, group=len(seeds), say=lambda sentence: None)
  models = [jax.tree.map(lambda leaf: leaf[place], trained.params) for place in range(len(seeds))]
  inputs = np.linspace(-5.0, 5.0, 1001, dtype=np.float32)[:, None]
  layers = zip(*[alive(model, inputs) for model in models])
  norms = [float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(model)))) for model in models]
  return {"alive": [{**_mean([float(units.sum()) for units in layer]), "units": len(layer[0])} for layer in layers],
          "norm": _mean(norms)}


def _mean(values: list[float]) -> dict[str, float]:
  return dict(statistics.over_seeds(np.array(values))._asdict())


def _shown(value: dict[str, float]) -> str:
  return f"{value['mean']:.1f} ± {value['interval']:.1f}"


if __name__ == "__main__":
  main(sys.argv[1:])
