"""Memory and arithmetic of many inner steps, read from the compiled programs; nothing is run or timed.

  python -m benchmarks.memory        a few minutes; writes docs/results/memory.json and the table in docs/memory.md
The meta-gradient of MAML on one task with the shapes of mini-ImageNet and its usual network.
"""

import json
from pathlib import Path
from typing import Any, Callable

import jax
from jax import lax
import jax.numpy as jnp
import optax

from benchmarks import tables
from metajax import learners, losses, networks, objectives
from metajax.descent import descend
from metajax.examples import examples
from metajax.lab.cost import flops
from metajax.learners.maml import task_gradient
from metajax.types import Episode, Learner

_RESULT = Path("docs/results/memory.json")
_PAGE = Path("docs/memory.md")
_COMMAND = "python -m benchmarks.memory"

_STEPS = (5, 10)
_SIZE, _CHANNELS, _FILTERS, _WAYS, _SHOTS, _QUERIES = 84, 3, 32, 5, 5, 15
_LOSS = losses.softmax_cross_entropy
_SGD = optax.sgd(0.01)
_NETWORK = networks.conv4(_WAYS, filters=_FILTERS)


def _learner(num_steps: int, **options: bool) -> Learner:
  return learners.maml(_NETWORK, _LOSS, optimizer=_SGD, num_steps=num_steps, **options)


def _plain_scan(num_steps: int) -> Learner:
  """Returns MAML that stores all activations of all inner steps."""

  def adapt(params, support, key):
    del key

    def step(carry, _):
      weights, state = carry
      return descend(_SGD, task_gradient(_NETWORK.apply, _LOSS, weights, support), state, weights), None

    return lax.scan(step, (params, _SGD.init(params)), length=num_steps)[0][0]

  return _learner(num_steps)._replace(adapt=adapt)


FORMS: dict[str, Callable[[int], Learner]] = {
    "first order": lambda num_steps: _learner(num_steps, first_order=True),
    "second order": _learner,
    "second order, `mixed_mode`": lambda num_steps: _learner(num_steps, mixed_mode=True),
    "second order, plain scan": _plain_scan,
}


def main() -> None:
  rows = {}
  for num_steps in _STEPS:
    for form, learner in FORMS.items():
      row = measure(learner(num_steps), _SIZE, _SHOTS, _QUERIES)
      rows[f"{num_steps} steps, {form}"] = {"steps": num_steps, "form": form, **row}
      print(f"{num_steps} steps, {form}: {row['working_bytes'] / 2**20:.0f} MiB, {row['flops'] / 1e9:.1f} GFLOP",
            flush=True)
  kept = {**tables.about(_COMMAND), "rows": rows}
  _RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
  write(kept)


def measure(learner: Learner, size: int, shots: int, queries: int) -> dict[str, int]:
  """Returns the bytes and the operations of a meta-gradient on a task with images `[size, size, 3]`."""

  def some(count):
    return examples(jnp.zeros((count, size, size, _CHANNELS)), jnp.arange(count, dtype=jnp.int32) % _WAYS)

  episode = Episode(some(_WAYS * shots), some(_WAYS * queries))
  params = learner.init(jax.random.key(0), episode.support.inputs)
  episodes = jax.tree.map(lambda leaf: leaf[None], episode)
  objective = objectives.episodic(learner, _LOSS)
  gradient = jax.grad(lambda params, episodes: objective(params, episodes, jax.random.key(0))[0])
  compiled = jax.jit(gradient).lower(params, episodes).compile()
  return {"working_bytes": compiled.memory_analysis().temp_size_in_bytes,
          "flops": flops(jax.make_jaxpr(gradient)(params, episodes).jaxpr)}


def write(kept: dict[str, Any]) -> None:
  """Writes the page's table from the stored results."""
  lines = ["| inner steps | gradient | working memory, MiB | relative to first order | GFLOP |",
           "| --- | --- | --- | --- | --- |"]
  for row in kept["rows"].values():
    least = kept["rows"][f"{row['steps']} steps, first order"]["working_bytes"]
    lines.append(f"| {row['steps']} | {row['form']} | {row['working_bytes'] / 2**20:,.0f} "
                 f"| {row['working_bytes'] / least:.2f} | {row['flops'] / 1e9:.1f} |")
  tables.insert(_PAGE, _COMMAND, [*lines, "", tables.machine(kept)])


if __name__ == "__main__":
  main()
