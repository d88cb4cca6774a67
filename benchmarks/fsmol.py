"""delta-AUPRC of a trained run on FS-Mol's test assays, next to a baseline without learning.

  python -m benchmarks.fsmol runs/fsmol_protonet        measures, writes docs/results/fsmol_<learner>.json and the table
                                                        in docs/data.md
  python -m benchmarks.fsmol runs/fsmol_protonet --repeats=2 --shots=16,64

The protocol is that of Stanley et al., 2021. Every test assay is tested ten times for each support size (16, 32, 64 and
128 molecules). Each support set is a new sample that keeps the assay's share of actives; all other molecules are
queries. Assays with too few molecules are left out. Results are first averaged over the repeats of an assay, then over
assays, with a 95 % interval over assays. The baseline is the nearest class mean of the same fingerprints.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from benchmarks import tables
from experiments.few_shot import fsmol
from launch import fields
from metajax import learners
from metajax.lab import run as runs
from metajax.lab import workdir
from metajax.lab.recipe import Recipe
from metajax.training.evaluation import Estimate, estimate, make_evaluate
from metajax.types import Learner, Network, Params

_RESULTS = Path("docs/results")
_PAGE = Path("docs/data.md")
_COMMAND = "python -m benchmarks.fsmol"
_ALL = 10**6  # queries: more than the molecules of any assay
_CHUNK = 4  # assays evaluated at once, each padded to the largest


def main() -> None:
  parser = argparse.ArgumentParser(prog="benchmarks.fsmol", description=(__doc__ or "").splitlines()[0])
  parser.add_argument("folder", help="the work directory of a run of the fsmol recipe")
  parser.add_argument("--shots", default="16,32,64,128", help="support set sizes, separated by commas")
  parser.add_argument("--repeats", type=int, default=10, help="support sets per assay and size")
  given = parser.parse_args()
  run = workdir.read(given.folder)
  config = fields.from_mapping(fsmol.get_config(run["config"]["learner"]), run["config"])
  state = runs.restore(fsmol.build(config), given.folder)
  raw = learners.protonet(Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs), num_classes=2)
  rows = []
  for shots in map(int, given.shots.split(",")):
    built = fsmol.build(dataclasses.replace(config, test_shots=shots, test_queries=_ALL))
    for name, learner, params in ((config.learner, built.test_learner, state.params), ("nearest mean", raw, {})):
      found = over_assays(built, learner, params, given.repeats)
      rows.append({"shots": shots, "learner": name, "assays": len(found.values), "mean": found.mean,
                   "interval_95": found.interval})
      print(f"{shots} shots, {name}: delta-AUPRC {found} over {len(found.values)} assays", flush=True)
  kept = {**tables.about(_COMMAND), "learner": config.learner, "trained_shots": config.shots,
          "steps": config.training.steps, "conml": config.conml, "repeats": given.repeats, "results": rows}
  (_RESULTS / f"fsmol_{config.learner}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  names = list(dict.fromkeys(row["learner"] for row in kept["results"]))
  lines = [f"| support molecules | assays | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
  for shots in dict.fromkeys(row["shots"] for row in kept["results"]):
    found = [row for row in kept["results"] if row["shots"] == shots]
    lines.append(f"| {shots} | {found[0]['assays']} | "
                 + " | ".join(f"{row['mean']:.3f} ± {row['interval_95']:.3f}" for row in found) + " |")
  lines += ["", f"Delta-AUPRC, {kept['repeats']} support sets per assay; {kept['learner']} "
            f"{'with' if kept['conml'] else 'without'} ConML after {kept['steps']:,} steps of "
            f"{kept['trained_shots']}-molecule tasks. {tables.machine(kept)}"]
  tables.insert(_PAGE, kept["command"], lines)


def over_assays(built: Recipe, learner: Learner, params: Params, repeats: int) -> Estimate:
  """Returns the delta-AUPRC of each test assay, averaged over its repeats."""
  assays = len(built.test_tasks.data.counts)
  evaluate = make_evaluate(learner, built.loss, {}, built.test_tasks, measures=built.measures,
                           num_episodes=assays * repeats, key=jax.random.key(built.test.seed), chunk=_CHUNK)
  return estimate(evaluate(params)["delta_auprc"].values.reshape(repeats, assays).mean(axis=0))


if __name__ == "__main__":
  main()
