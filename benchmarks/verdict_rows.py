"""What docs/results.md compares, and what was published of it: one row a comparison, nothing measured here.

Published numbers of ConML are from an earlier manuscript of Wu et al., 2025 (arXiv 2410.05975), where the final
version's could not be had.
"""

from typing import NamedTuple


class Shown(NamedTuple):
  """One line of the table: a test of the comparison's models, and what was published of it."""
  tested: str  # in words
  field: str = ""  # of a sweep; the comparison's own test if empty
  value: float = 0.0  # of that field
  plain: str = ""  # published, of the plain learner
  conml: str = ""  # published, with ConML
  gains: bool = False  # show the relative minimum and the examples spared along the sweep instead


class Row(NamedTuple):
  """One comparison."""
  section: str
  name: str  # of docs/results/verdict_<name>.json
  arguments: str  # of python -m launch.compare
  shown: tuple[Shown, ...]
  published_steps: int = 0  # of meta-training; 0 where they are not known
  remark: str = ""  # what differs from what was published


_SINE = "Sinusoids"
_PROMPT = "In context"
_OMNIGLOT = "Omniglot"
_CIFAR = "CIFAR-FS"
_MOLECULES = "FS-Mol"

_AT_5_AND_10 = (Shown("5 shots", "test_shots", 5), Shown("10 shots", "test_shots", 10))
_SINE_MAML = "--config=experiments/sinusoid_maml.py --seeds=8"
_FINN = ("Wu et al. restate neither the inner rate nor the steps of training and test; these are MAML's. Their 10-shot "
         "column is a tenth of the 5-shot one almost exactly, and doubtful")


def _sinusoid(learner: str, arms: str = "none,both") -> Row:
  return Row(_SINE, f"sinusoid_{learner}", f"--config=experiments/sinusoid.py:{learner} --seeds=8 --arms={arms}",
             _AT_5_AND_10)


def _range(name: str, settings: str, weights: str, remark: str) -> Row:
  arms = f"--arms=none,config.contrast.weight={weights} --config.training.steps=20000 --sweeps=none"
  return Row(_SINE, f"sinusoid_maml_{name}", f"{_SINE_MAML} {settings} {arms}".replace("  ", " "), (
      Shown(f"5 shots, {remark}"),), 70_000, "a part of the range of settings searched for a gain")


def _prompts(name: str, points: int, relative: str, spared: str) -> Row:
  return Row(_PROMPT, f"icl_{name}", f"--config=experiments/icl_{name}.py --seeds=3 --arms=none,both "
             f"--config.points={points + 1} --config.size=tiny",
             (Shown(f"{points} examples"),
              Shown("along the prompt", "test_points", plain="1, 0", conml=f"{relative}, {spared}", gains=True)),
             0, "tiny transformer; Garg et al. train a larger one for 500,000 steps with d = 20")


def _omniglot(learner: str, published: str, steps: int, remark: str = "") -> Row:
  return Row(_OMNIGLOT, f"omniglot_{learner}",
             f"--config=experiments/omniglot.py:{learner} --seeds=3 --arms=none,both --config.training.steps=500",
             (Shown("5-way 1-shot", plain=published),), steps, remark)


def _cifar(learner: str, published: str, shots: int = 1, remark: str = "longer training") -> Row:
  more = "" if shots == 1 else f" --config.shots={shots}"
  return Row(_CIFAR, f"cifar_fs_{learner}_{shots}", f"--config=experiments/cifar_fs.py:{learner} --seeds=3 "
             f"--arms=none,both --config.training.steps=500{more}", (Shown(f"5-way {shots}-shot", plain=published),), 0,
             remark if published else "")


def _molecules(learner: str) -> Row:
  return Row(_MOLECULES, f"fsmol_{learner}", f"--config=experiments/fsmol.py:{learner} --seeds=3 --arms=none,both "
             "--config.training.steps=500", (Shown("16 molecules"),), 0,
             "Stanley et al. report a delta-AUPRC of graph networks (ProtoNet .211, MAML .165), which an accuracy does "
             "not compare with")


def rows() -> tuple[Row, ...]:
  """Returns all comparisons, in the order of the page."""
  return (
      Row(_SINE, "sinusoid_maml", f"{_SINE_MAML} --config.training.steps=40000 --arms=none,in,out,both", (
          Shown("5 shots", "test_shots", 5, ".677 ± .038", ".394 ± .010"),
          Shown("10 shots", "test_shots", 10, ".0678 ± .0022", ".0397 ± .0009"),
          Shown("5 shots, 10 steps", "test_inner_steps", 10, ".35 (Finn et al.)"),
          Shown("amplitudes + 3", "test_shift", 3)), 70_000, _FINN),
      _sinusoid("fomaml"), _sinusoid("anil"), _sinusoid("metasgd"), _sinusoid("reptile"),
      _range("weights", "", "0.1,1,10,100,1000", "cosine of the weights"),
      _range("change", "--config.psi=change", "0.01,0.1,1,10", "cosine of their change"),
      _range("euclidean", "--config.contrast.distance=squared_euclidean", "0.01,0.1,1,10",
             "squared Euclidean distance of the weights"),
      _range("rate", "--config.inner_rate=0.1", "0.1,1,10,100,1000", "cosine of the weights, inner rate 0.1"),
      _range("steps", "--config.inner_steps=5 --config.test_inner_steps=5", "0.1,1,10,100,1000",
             "cosine of the weights, 5 inner steps"),
      Row(_SINE, "sinusoid_maml_init", f"{_SINE_MAML} --config.first_weights=lecun --config.training.steps=40000 "
          "--arms=none,in,out,both", _AT_5_AND_10, 70_000, "first weights of the usual size, of which fewer units die"),
      _prompts("linear", 10, "0.42 ± 0.09", "−4.68 ± 0.45"), _prompts("sparse", 10, "0.49 ± 0.06", "−3.94 ± 0.62"),
      _prompts("tree", 20, "0.81 ± 0.12", "−4.22 ± 1.29"), _prompts("network", 40, "0.74 ± 0.19", "−11.25 ± 2.07"),
      _omniglot("maml", "98.7 ± 0.4 % (Finn et al.)", 60_000, "64 filters, 32 tasks a step"),
      _omniglot("fomaml", "98.3 ± 0.5 % (Nichol et al.)", 60_000),
      _omniglot("anil", "", 0), _omniglot("protonet", "98.8 % (Snell et al.)", 0, "trained on 60-way tasks"),
      _omniglot("matchingnet", "98.1 % (Vinyals et al.)", 0), _omniglot("ridge", "", 0),
      _cifar("protonet", "55.5 %"), _cifar("ridge", "65.3 %", remark="R2-D2, a wider network, longer training"),
      _cifar("anil", ""), _cifar("maml", "58.9 %", remark="32 filters, longer training"), _cifar("fomaml", ""),
      _cifar("protonet", "72.0 %", 5), _cifar("ridge", "79.4 %", 5, "R2-D2, a wider network, longer training"),
      _molecules("protonet"), _molecules("maml"), _molecules("cnp"))
