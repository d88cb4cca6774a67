"""The timed workloads as data. Inputs and initial parameters are NumPy arrays, the same for every library.

W1 sinusoids, W2 images of Omniglot's shape, W3 prototypical networks, W4 in-context learning. `T` tasks, `N` support
examples, `Q` queries. Images are `[H, W, channels]`, kernels `[in, out]` and `[3, 3, in, out]`.
"""

from typing import Callable, NamedTuple

import numpy as np

# So small that thousands of steps on one batch barely change the numbers. With full training, gradients would become
# subnormal, which processors compute slowly.
OUTER_RATE = 1e-7
# Of batches and initial parameters. With seed 0, an activation of W2s is 1e-7 from the kink of the ReLU: rounding
# decides its gradient, and correct libraries disagree by 1e-4.
SEED = 1
NORM_EPSILON = 1e-6  # of layer norms; all libraries use 1e-5 for batch norms


class Workload(NamedTuple):
  """One meta-step: the gradient of the mean query loss over the tasks, and Adam's update."""
  learner: str  # maml, protonet or in_context
  tasks: int  # T
  shots: int  # support examples per class, or per task without classes
  queries: int  # query examples, likewise
  shape: tuple[int, ...]  # of one input
  ways: int = 0  # classes; 0: real-valued targets
  inner_steps: int = 1
  inner_rate: float = 0.01
  first_order: bool = False
  max_pool: bool = False  # 2x2 max-pooling after the convolutions; otherwise their stride is 2
  layers: int = 4  # convolutions, or transformer blocks
  width: int = 64  # filters, hidden units, or the transformer's width
  heads: int = 0

  @property
  def points(self) -> int:
    """The positions of a prompt."""
    return self.shots + self.queries


class Batch(NamedTuple):
  """A meta-batch, ordered by class: float32 inputs; int32 classes or float32 targets `[..., 1]`."""
  support_inputs: np.ndarray  # [T, N, ...]
  support_targets: np.ndarray  # [T, N] or [T, N, 1]
  query_inputs: np.ndarray  # [T, Q, ...]
  query_targets: np.ndarray  # [T, Q] or [T, Q, 1]


class Program(NamedTuple):
  """A library's implementation of a workload."""
  call: Callable[[], float]  # runs some steps and returns the loss of the first
  steps: int  # per call
  gradient_norm: Callable[[], float]  # of the first step of the last call


_W1 = Workload("maml", 25, 10, 10, (1,), layers=2, width=40)
_W2 = Workload("maml", 32, 1, 15, (28, 28, 1), ways=5, inner_rate=0.4)
_W3 = Workload("protonet", 1, 5, 15, (28, 28, 1), ways=5, max_pool=True)
_W4 = Workload("in_context", 64, 40, 1, (20,))

WORKLOADS = {
    "W1": _W1,
    "W1b": _W1._replace(inner_steps=5),
    "W2s": _W2,
    "W2s5": _W2._replace(inner_steps=5),
    "W2s_fo": _W2._replace(first_order=True),
    "W2p": _W2._replace(max_pool=True),
    "W3_1": _W3,
    "W3_4": _W3._replace(tasks=4),
    "W3_32": _W3._replace(tasks=32),
    "W3b_1": _W3._replace(shape=(84, 84, 3)),
    "W4_small": _W4._replace(layers=6, heads=4, width=128),
    "W4_std": _W4._replace(layers=12, heads=8, width=256),
}


def batch(workload: Workload, seed: int) -> Batch:
  """Returns the meta-batch of a seed: sinusoids, linear functions, or classes of noise around one image each."""
  rng = np.random.default_rng(seed)
  tasks, per_task = workload.tasks, workload.points
  if workload.learner == "in_context":
    inputs = rng.standard_normal((tasks, per_task, *workload.shape))
    targets = inputs @ rng.standard_normal((tasks, *workload.shape, 1))
  elif not workload.ways:
    inputs = rng.uniform(-5, 5, (tasks, per_task, 1))
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    targets = amplitude * np.sin(inputs - phase)
  else:
    images = rng.random((tasks, workload.ways, 1, *workload.shape))
    inputs = images + 0.3 * rng.standard_normal((tasks, workload.ways, per_task, *workload.shape))
    return _classes(workload, inputs.astype(np.float32))
  inputs, targets = inputs.astype(np.float32), targets.astype(np.float32)
  shots = workload.shots
  return Batch(inputs[:, :shots], targets[:, :shots], inputs[:, shots:], targets[:, shots:])


def initial(workload: Workload, seed: int) -> dict[str, np.ndarray]:
  """Returns initial parameters by name. No bias is zero and no scale is one, so that omitting one is noticed."""
  rng = np.random.default_rng(seed)

  def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    normal = rng.standard_normal(shape)
    spread = np.prod(shape[:-1]) ** -0.5 if name.endswith("kernel") else 0.1
    return (name.endswith("scale") + spread * normal).astype(np.float32)

  return {name: values(name, shape) for name, shape in _shapes(workload).items()}


def _classes(workload: Workload, inputs: np.ndarray) -> Batch:
  def part(inputs):
    labels = np.repeat(np.arange(workload.ways, dtype=np.int32), inputs.shape[2])
    return inputs.reshape(workload.tasks, -1, *workload.shape), np.tile(labels, (workload.tasks, 1))

  return Batch(*part(inputs[:, :, :workload.shots]), *part(inputs[:, :, workload.shots:]))


def _shapes(workload: Workload) -> dict[str, tuple[int, ...]]:
  width, shapes = workload.width, {}

  def dense(name: str, inputs: int, outputs: int) -> None:
    shapes.update({f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)})

  def norm(name: str) -> None:
    shapes.update({f"{name}/scale": (width,), f"{name}/bias": (width,)})

  if workload.learner == "in_context":
    dense("read_in", workload.shape[0], width)
    shapes["positions"] = (2 * workload.points, width)
    for block in (f"block{layer}" for layer in range(workload.layers)):
      norm(f"{block}/norm0")
      dense(f"{block}/query_key_value", width, 3 * width)
      dense(f"{block}/mix", width, width)
      norm(f"{block}/norm1")
      dense(f"{block}/up", width, 4 * width)
      dense(f"{block}/down", 4 * width, width)
    norm("norm")
    dense("read_out", width, 1)
  elif len(workload.shape) == 3:
    for layer in range(workload.layers):
      shapes[f"conv{layer}/kernel"] = (3, 3, width if layer else workload.shape[-1], width)
      norm(f"conv{layer}")
    if workload.learner == "maml":
      dense("dense0", width, workload.ways)
  else:
    sizes = [workload.shape[0]] + [width] * workload.layers + [1]
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
      dense(f"dense{layer}", inputs, outputs)
  return shapes
