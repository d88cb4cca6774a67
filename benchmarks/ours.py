"""metajax's implementation of every workload, with public functions and in the fastest form."""

import functools
from typing import Any, Mapping, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.workloads import OUTER_RATE, SEED, Program, Workload, batch, initial
from metajax import learners, losses, networks, objectives
from metajax.descent import descend
from metajax.examples import examples
from metajax.learners.in_context import read
from metajax.networks.transformer import transformer
from metajax.types import Episode, Learner, Objective, Params

_PROMPTS = 16  # in one chunk, at least as fast as all at once: intermediate results stay in the cache


class Built(NamedTuple):
  """A workload as one function, its state and its meta-batch on the device."""
  advance: Any  # (state, episodes) -> state, (loss, gradient norm); compiled when called; the state is donated
  state: Any
  episodes: Episode
  steps: int  # per call


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns metajax's program of a workload."""
  built = build(workload, seed)
  held = {"state": built.state}

  def call():
    held["state"], (loss, held["norm"]) = built.advance(held["state"], built.episodes)
    return float(loss)

  return Program(call, built.steps, lambda: float(held["norm"]))


def build(workload: Workload, seed: int = SEED) -> Built:
  """Returns a workload as one function, with its meta-batch and its first state."""
  learner, objective = _learner_and_objective(workload)
  steps = _steps(workload)
  optimizer = optax.adam(OUTER_RATE)
  key = jax.random.key(seed)
  with_mask = jax.vmap(examples)
  inputs = jax.tree.map(jnp.asarray, batch(workload, seed))
  episodes = Episode(with_mask(*inputs[:2]), with_mask(*inputs[2:]))
  params = _params(learner, episodes.support.inputs[0], initial(workload, seed))

  def step(carry, episodes):
    gradient, metrics = jax.grad(objective, has_aux=True)(carry[0], episodes, key)
    # training.make_advance also reports the norm of every step.
    return descend(optimizer, gradient, carry[1], carry[0]), (metrics["loss"], optax.tree.norm(gradient))

  def several(carry, episodes):
    if steps == 1:  # no loop: on CPU, XLA compiles convolutions inside loops poorly
      return step(carry, episodes)
    carry, of_all = lax.scan(lambda carry, _: step(carry, episodes), carry, length=steps)
    return carry, jax.tree.map(lambda values: values[0], of_all)

  return Built(jax.jit(several, donate_argnums=0), (params, optimizer.init(params)), episodes, steps)


def _steps(workload: Workload) -> int:
  """Returns the number of steps per dispatch."""
  if len(workload.shape) == 3:
    return 1
  return 50 if workload.learner == "maml" else 4


def _learner_and_objective(workload: Workload) -> tuple[Learner, Objective]:
  if workload.learner == "in_context":
    network = transformer(1, max_tokens=2 * workload.points, layers=workload.layers, heads=workload.heads,
                          width=workload.width)
    return learners.in_context(network), objectives.autoregressive(functools.partial(read, network),
                                                                   losses.squared_error,
                                                                   task_map=objectives.in_chunks(_PROMPTS))
  if workload.learner == "protonet":
    # One task at a time: its activations fit into the cache.
    embedding = networks.conv4(filters=workload.width, max_pool=workload.max_pool, weights="shared")
    learner = learners.protonet(embedding, num_classes=workload.ways)
    return learner, objectives.episodic(learner, losses.softmax_cross_entropy,
                                        task_map=objectives.in_chunks(1))
  loss = losses.softmax_cross_entropy if workload.ways else losses.squared_error
  adapted = (networks.conv4(workload.ways, filters=workload.width, max_pool=workload.max_pool, average=True)
             if workload.ways else networks.mlp([workload.width] * workload.layers, 1, weights="per_task"))
  learner = learners.maml(adapted, loss, optimizer=optax.sgd(workload.inner_rate), num_steps=workload.inner_steps,
                          first_order=workload.first_order, unroll=not workload.ways)
  if not workload.ways:
    return learner, objectives.episodic(learner, loss)
  # Convolutions with per-task weights: on CPU the cache holds one task, but not all of them.
  return learner, objectives.episodic(learner, loss, task_map=objectives.in_chunks(1))


# flax numbers a transformer's layers by type, in the order of their calls.
_LAYERS = {"read_in": "Dense_0", "read_out": "Dense_1", "norm": "LayerNorm_0", "norm0": "LayerNorm_0",
           "norm1": "LayerNorm_1", "query_key_value": "Dense_0", "mix": "Dense_1", "up": "Dense_2", "down": "Dense_3"}


def _params(learner: Learner, inputs: jax.Array, arrays: Mapping[str, np.ndarray]) -> Params:
  """Returns the arrays as the learner's parameters for inputs `[N, ...]`; axes of size one are added where needed.

  Raises:
    ValueError: if the learner's parameters have other names.
  """
  named = {_flax_name(name): array for name, array in arrays.items()}
  flat, structure = jax.tree_util.tree_flatten_with_path(jax.eval_shape(learner.init, jax.random.key(0), inputs))
  leaves = {"/".join(str(part.key) for part in path): leaf for path, leaf in flat}
  if sorted(leaves) != sorted(named):
    raise ValueError(f"the learner's parameters are {', '.join(sorted(leaves))}, but given are "
                     f"{', '.join(sorted(named))}; benchmarks/workloads.py no longer matches the network.")
  return jax.tree.unflatten(structure, [jnp.asarray(named[name]).reshape(leaf.shape) for name, leaf in leaves.items()])


def _flax_name(name: str) -> str:
  first, *rest = name.split("/")
  kind = first.rstrip("0123456789")
  number = first[len(kind):]
  if kind == "conv":
    return rest[0] + number
  if kind == "dense":
    return f"Dense_{number}/{rest[0]}"
  if kind == "block":
    return f"Block_{number}/{_LAYERS[rest[0]]}/{rest[1]}"
  return "/".join([_LAYERS.get(first, first), *rest])
