"""FS-Mol's own measure of a trained run: average precision on the query set above the share of actives (delta-AUPRC).

  python -m benchmarks.fsmol runs/fsmol_protonet [shots ...]

Beside it what no learning gets: the nearest class mean of the same fingerprints. Over 300 episodes of test assays drawn
at random, up to 1,024 query molecules each; Stanley et al. take every assay ten times with all its other molecules.
"""

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import average_precision_score

from experiments import fsmol
from launch import fields
from metajax import learners, recipe, workdir
from metajax.evaluation import estimate
from metajax.objectives.tasks import solve
from metajax.types import Learner, Network

_EPISODES = 300
_QUERIES = 1024


def main() -> None:
  folder, *shots = sys.argv[1:]
  run = workdir.read(folder)
  config = fields.from_mapping(fsmol.get_config(run["config"]["learner"]), run["config"])
  state = recipe.restore(fsmol.build(config), folder)
  raw = learners.protonet(Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs), num_classes=2)
  for count in map(int, shots or [config.shots]):
    built = fsmol.build(dataclasses.replace(config, shots=count, queries=_QUERIES))
    print(built.notes)
    for name, learner, params in ((config.learner, built.test_learner, state.params), ("nearest mean", raw, {})):
      print(f"  {name}: delta-AUPRC {estimate(_above_chance(built, learner, params))}", flush=True)


def _above_chance(built: recipe.Recipe, learner: Learner, params: Any) -> np.ndarray:
  """Returns the delta-AUPRC of each episode."""
  key = jax.random.key(built.test.seed)

  @jax.jit
  def run(params, data, place):
    episode = built.test_tasks.sample(data, jax.random.fold_in(key, place))
    outputs = solve(learner, built.loss, {}, params, episode, key).outputs
    return outputs[:, 1] - outputs[:, 0], episode.query.targets, episode.query.mask

  values = []
  for place in range(_EPISODES):
    scores, targets, mask = jax.device_get(run(params, built.test_tasks.data, jnp.int32(place)))
    if targets[mask].any():
      values.append(average_precision_score(targets[mask], scores[mask]) - targets[mask].mean())
  return np.asarray(values)


if __name__ == "__main__":
  main()
