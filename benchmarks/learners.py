"""Every learner after the same short training with ConML, compared with its untrained accuracy.

  python -m benchmarks.learners                 all of omniglot (a quarter of an hour), writes
                                                docs/results/omniglot_learners.json and the table in docs/learners.md
  python -m benchmarks.learners ridge cnp       only these; the other rows are kept
Omniglot 5-way 1-shot with the same tasks and the same Conv4 for all (the residual network for CNAPs). One seed, 300
steps of 16 tasks, more for learners that start slowly. It shows that each learner learns, not which is best: none is
tuned, and 300 steps are few.
"""

import dataclasses
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

import jax

from benchmarks import tables
from experiments.few_shot import omniglot
from metajax.lab import run as runs
from metajax.lab.recipe import Recipe
from metajax.training.evaluation import Estimate, make_evaluate
from metajax.training.step import init_state

_RESULT = Path("docs/results/omniglot_learners.json")
_PAGE = Path("docs/learners.md")
_COMMAND = "python -m benchmarks.learners"
_ALIKE = {"train_ways": 0, "one_turn": True, "filters": 32, "max_pool": False, "norm": "batch"}
_STEPS, _SLOWLY = 300, {"in_context": 2000, "cnp": 900, "reptile": 600}
_TRAINING = {"tasks_per_step": 16, "steps_per_row": 50, "rows_per_checkpoint": 6}


def main(names: list[str]) -> None:
  kept = json.loads(_RESULT.read_text(encoding="utf-8")) if _RESULT.exists() else {"results": {}}
  for name in names or omniglot.defaults():
    built = _build(name)
    evaluate = make_evaluate(built.test_learner, built.loss, built.scores, built.test_tasks,
                             num_episodes=built.test.episodes, key=jax.random.key(built.test.seed))
    untrained = init_state(built.learner, built.optimizer, built.train_tasks, jax.random.key(built.seed)).params
    with tempfile.TemporaryDirectory() as folder:
      trained = runs.train(built, Path(folder), say=lambda sentence: None).params
    row = {arm: _written(evaluate(jax.device_put(params, jax.devices()[0]))["accuracy"])
           for arm, params in (("untrained", untrained), ("trained", trained))}
    kept["results"][name] = {"steps": built.training.steps, **row}
    print(name, row, flush=True)
    kept = {**tables.about(_COMMAND), "results": kept["results"]}
    _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  rows = ["| learner | untrained | trained with ConML | steps |", "| --- | --- | --- | --- |"]
  for name, row in kept["results"].items():
    cells = [f"{100 * row[arm]['mean']:.1f} ± {100 * row[arm]['interval_95']:.1f} %"
             for arm in ("untrained", "trained")]
    rows.append(f"| {name} | {' | '.join(cells)} | {row.get('steps', _STEPS)} |")
  tables.insert(_PAGE, _COMMAND, [*rows, "", tables.machine(kept)])


def _build(name: str) -> Recipe:
  config = omniglot.get_config(name)
  training = dataclasses.replace(config.training, **_TRAINING, steps=_SLOWLY.get(name, _STEPS))
  alike = {field: value for field, value in _ALIKE.items() if not (field in ("max_pool", "norm") and "cnaps" in name)}
  return omniglot.build(dataclasses.replace(config, **alike, training=training))._replace(val_tasks=None)


def _written(estimate: Estimate) -> dict[str, float]:
  return {"mean": estimate.mean, "interval_95": estimate.interval}


if __name__ == "__main__":
  main(sys.argv[1:])
