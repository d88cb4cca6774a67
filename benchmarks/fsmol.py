"""FS-Mol's own measure of a trained run: average precision on the query set above the share of actives (delta-AUPRC).

  python -m benchmarks.fsmol runs/fsmol_protonet                     measures, writes docs/results/fsmol_<learner>.json
                                                                     and the table in docs/data.md
  python -m benchmarks.fsmol runs/fsmol_protonet --repeats=2 --shots=16,64

Every test assay, ten times with another support set of 16, 32, 64 and 128 molecules, which keeps the assay's share of
actives, and all its other molecules for queries (Stanley et al., 2021, Section 5). Assays with too few are left out. A
number is the mean over the assays of the means over the repeats, with its 95 % interval over assays. Beside it what
no learning gets: the nearest class mean of the same fingerprints.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import average_precision_score

from benchmarks import tables
from experiments import fsmol
from launch import fields
from metajax import learners, recipe, workdir
from metajax.evaluation import Estimate, estimate
from metajax.objectives.tasks import solve
from metajax.types import Learner, Network

_RESULTS = Path("docs/results")
_PAGE = Path("docs/data.md")
_COMMAND = "python -m benchmarks.fsmol"


def main() -> None:
  parser = argparse.ArgumentParser(prog="benchmarks.fsmol", description=__doc__.splitlines()[0])
  parser.add_argument("folder", help="the workdir of a run of experiments/fsmol.py")
  parser.add_argument("--shots", default="16,32,64,128", help="sizes of support sets, separated by commas")
  parser.add_argument("--repeats", type=int, default=10, help="support sets of each assay and size")
  given = parser.parse_args()
  run = workdir.read(given.folder)
  config = fields.from_mapping(fsmol.get_config(run["config"]["learner"]), run["config"])
  state = recipe.restore(fsmol.build(config), given.folder)
  raw = learners.protonet(Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs), num_classes=2)
  rows = []
  for shots in map(int, given.shots.split(",")):
    built = fsmol.build(dataclasses.replace(config, shots=shots, queries=10**6))
    for name, learner, params in ((config.learner, built.test_learner, state.params), ("nearest mean", raw, {})):
      found = above_chance(built, learner, params, given.repeats)
      rows.append({"shots": shots, "learner": name, "assays": len(found.values), "mean": found.mean,
                   "interval_95": found.interval})
      print(f"{shots} shots, {name}: delta-AUPRC {found} over {len(found.values)} assays", flush=True)
  kept = {**tables.about(_COMMAND), "learner": config.learner, "trained_shots": config.shots,
          "steps": config.training.steps, "conml": config.conml, "repeats": given.repeats, "results": rows}
  (_RESULTS / f"fsmol_{config.learner}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def write(kept: dict[str, Any]) -> None:
  """Writes the table of the page from what is kept."""
  names = list(dict.fromkeys(row["learner"] for row in kept["results"]))
  lines = [f"| support molecules | assays | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
  for shots in dict.fromkeys(row["shots"] for row in kept["results"]):
    found = [row for row in kept["results"] if row["shots"] == shots]
    lines.append(f"| {shots} | {found[0]['assays']} | "
                 + " | ".join(f"{row['mean']:.3f} ± {row['interval_95']:.3f}" for row in found) + " |")
  lines += ["", f"Delta-AUPRC, {kept['repeats']} support sets an assay; {kept['learner']} "
            f"{'with' if kept['conml'] else 'without'} ConML after {kept['steps']:,} steps of "
            f"{kept['trained_shots']}-molecule tasks. {tables.machine(kept)}"]
  tables.insert(_PAGE, kept["command"], lines)


def above_chance(built: recipe.Recipe, learner: Learner, params: Any, repeats: int) -> Estimate:
  """Returns the delta-AUPRC of all test assays, each the mean over its repeats."""
  key = jax.random.key(built.test.seed)

  @jax.jit
  def run(params, data, assay, repeat):
    # The draw of an assay, whichever it is, gives this one.
    only = lambda each: jnp.broadcast_to(each[assay], each.shape)
    data = data._replace(starts=only(data.starts), counts=only(data.counts))
    own = jax.random.fold_in(jax.random.fold_in(key, assay), repeat)
    episode = built.test_tasks.sample(data, own)
    outputs = solve(learner, built.loss, {}, params, episode, own).outputs
    return outputs[:, 1] - outputs[:, 0], episode.query.targets, episode.query.mask

  means = []
  for assay in range(len(built.test_tasks.data.counts)):
    values = []
    for repeat in range(repeats):
      scores, targets, mask = jax.device_get(run(params, built.test_tasks.data, jnp.int32(assay), jnp.int32(repeat)))
      if 0 < targets[mask].sum() < mask.sum():
        values.append(average_precision_score(targets[mask], scores[mask]) - targets[mask].mean())
    if values:
      means.append(float(np.mean(values)))
  return estimate(np.asarray(means))


if __name__ == "__main__":
  main()
