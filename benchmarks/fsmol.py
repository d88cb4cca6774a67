"""delta-AUPRC of a trained run on FS-Mol's test assays, and beside it what no learning gets.

  python -m benchmarks.fsmol runs/fsmol_protonet [shots ...]

The latter is the nearest class mean of the same fingerprints. Every assay is met twice, with up to 1,024 query
molecules; Stanley et al. take each ten times, with all its other molecules.
"""

import dataclasses
import sys

import jax

from experiments import fsmol
from launch import fields
from metajax import learners, recipe, workdir
from metajax.evaluation import make_evaluate
from metajax.types import Network

_EPISODES = 2 * 157  # each test assay twice


def main() -> None:
  folder, *shots = sys.argv[1:]
  run = workdir.read(folder)
  config = fields.from_mapping(fsmol.get_config(run["config"]["learner"]), run["config"])
  state = recipe.restore(fsmol.build(config), folder)
  raw = learners.protonet(Network(lambda key, inputs: {}, lambda params, inputs, mask: inputs), num_classes=2)
  for count in map(int, shots or [config.test_shots or config.shots]):
    built = fsmol.build(dataclasses.replace(config, test_shots=count))
    print(built.notes)
    for name, learner, params in ((config.learner, built.test_learner, state.params), ("nearest mean", raw, {})):
      evaluate = make_evaluate(learner, built.loss, {}, built.test_tasks, measures=built.measures,
                               num_episodes=_EPISODES, key=jax.random.key(built.test.seed))
      print(f"  {name}: delta-AUPRC {evaluate(params)['delta_auprc']}", flush=True)


if __name__ == "__main__":
  main()
