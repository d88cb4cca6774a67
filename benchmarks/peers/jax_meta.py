"""jax-meta: its MAML with one compiled step per call, and its Conv4 for workloads with max-pooling."""

from types import SimpleNamespace
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax_meta.metalearners.maml import MAML
from jax_meta.modules.conv import Conv4
import optax

from benchmarks.workloads import OUTER_RATE, SEED, Program, Workload, batch, initial

_BETA = 0.9  # of Adam's first moment


class _Set(NamedTuple):
  """The fields of a labelled set that jax-meta reads."""
  inputs: jax.Array
  targets: jax.Array


class _Regression(MAML):
  """Its MAML with the squared error instead of the cross-entropy."""

  def loss(self, params, state, inputs, targets, args):
    outputs, state = self.model.apply(params, state, inputs, *args)
    loss = jnp.mean(jnp.square(outputs - targets))
    return loss, (state, {"loss": loss})


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, all tasks at once."""

  def network(inputs, is_training):
    if not workload.ways:
      return hk.nets.MLP([workload.width] * workload.layers + [1])(inputs)
    return hk.Linear(workload.ways)(Conv4(workload.width)(inputs, is_training))

  model = hk.without_apply_rng(hk.transform_with_state(network))
  learner = (MAML if workload.ways else _Regression)(model, workload.inner_steps, workload.inner_rate)
  arrays = [jnp.asarray(array) for array in batch(workload, seed)]
  train, test = _Set(*arrays[:2]), _Set(*arrays[2:])
  params, state = learner.init(jax.random.key(seed), optax.adam(OUTER_RATE), train.inputs[0], True)
  held = SimpleNamespace(params=_set(params, initial(workload, seed)), state=state)

  def call():
    held.params, held.state, logs = learner.step(held.params, held.state, train, test, True)
    return float(jnp.mean(logs["outer/loss"]))

  def gradient_norm():  # its step does not return the gradient; Adam's first moment started at zero
    share = 1 - _BETA ** int(held.state.optimizer[0].count)
    return float(optax.tree.norm(held.state.optimizer[0].mu)) / share

  return Program(call, 1, gradient_norm)


def _set(params, arrays):
  """Returns haiku's parameters, set to the workload's arrays. Convolutions have no bias there; theirs is zero."""

  def value(module, name, leaf):
    kind = {"w": "kernel", "b": "bias", "offset": "bias"}.get(name, name)
    parts = module.split("/")
    if parts[-1] == "conv" and name == "b":
      return jnp.zeros_like(leaf)
    if parts[-1] in ("conv", "norm"):
      key = f"conv{int(parts[-2].removeprefix('layer')) - 1}"
    else:
      key = f"dense{int(parts[-1].partition('_')[2] or 0)}"
    return jnp.asarray(arrays[f"{key}/{kind}"]).reshape(leaf.shape)

  return {module: {name: value(module, name, leaf) for name, leaf in leaves.items()}
          for module, leaves in params.items()}
