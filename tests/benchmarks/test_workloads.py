"""The timed workloads: fixed numbers, and metajax's results against plain formulas in float64."""

import numpy as np
import pytest

from benchmarks import ours
from benchmarks.workloads import WORKLOADS, Workload, batch, initial


@pytest.mark.parametrize("name", WORKLOADS)
def test_batches_and_parameters_are_those_of_their_seed(name):
  workload = WORKLOADS[name]._replace(tasks=2)
  for make in (batch, initial):
    first, again, other = (list(_arrays(make(workload, seed))) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", WORKLOADS)
def test_batches_have_the_shapes_of_their_workload(name):
  workload = WORKLOADS[name]._replace(tasks=2)
  made = batch(workload, 0)
  for count, inputs, targets in ((workload.shots, *made[:2]), (workload.queries, *made[2:])):
    count *= workload.ways or 1
    assert inputs.shape == (2, count, *workload.shape) and inputs.dtype == np.float32
    assert targets.shape == ((2, count) if workload.ways else (2, count, 1))
    if workload.ways:
      assert all(np.bincount(labels).tolist() == [count // workload.ways] * workload.ways for labels in targets)


def test_our_sinusoids_are_maml():
  workload = WORKLOADS["W1"]._replace(tasks=3)
  weights = _float64(initial(workload, 5))
  per_task = [_adapted_loss(weights, workload, *task) for task in zip(*map(_float64, batch(workload, 5)))]
  assert ours.program(workload, seed=5).call() == pytest.approx(np.mean(per_task), rel=1e-5)


@pytest.mark.parametrize("workload", [
    WORKLOADS["W3_1"]._replace(tasks=2, shape=(16, 16, 3), width=8, queries=3),
    WORKLOADS["W2s"]._replace(tasks=2, shape=(9, 9, 1), width=8, queries=3, inner_steps=0)], ids=["protonet", "maml"])
def test_our_images_are_protonet_and_conv4(workload):
  weights = _float64(initial(workload, 5))
  per_task = []
  for support, labels, query, targets in zip(*batch(workload, 5)):
    if workload.learner == "protonet":
      features = _conv4(weights, workload, np.concatenate([support, query]).astype(np.float64))
      support, query = np.split(features, [len(labels)])
      means = np.stack([support[labels == label].mean(axis=0) for label in range(workload.ways)])
      logits = -np.sum(np.square(query[:, None] - means), axis=-1)
    else:
      logits = _conv4(weights, workload, query.astype(np.float64)) @ weights["dense0/kernel"] + weights["dense0/bias"]
    logits = logits - logits.max(axis=1, keepdims=True)
    per_task.append(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]))
  assert ours.program(workload, seed=5).call() == pytest.approx(np.mean(per_task), rel=1e-4)


def _adapted_loss(weights, workload: Workload, inputs, targets, query_inputs, query_targets):
  names = [f"dense{layer}" for layer in range(workload.layers + 1)]

  def forward(weights, x):
    seen = [x]
    for name in names:
      x = seen[-1] @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
      seen.append(x if name == names[-1] else np.maximum(x, 0))
    return seen

  seen = forward(weights, inputs)
  error = 2 * (seen[-1] - targets) / len(inputs)
  adapted = {}
  for name, x in reversed(list(zip(names, seen))):
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    adapted[f"{name}/kernel"] = kernel - workload.inner_rate * x.T @ error
    adapted[f"{name}/bias"] = bias - workload.inner_rate * error.sum(axis=0)
    error = error @ kernel.T * (x > 0)
  return np.mean(np.square(forward(adapted, query_inputs)[-1] - query_targets))


def _conv4(weights, workload: Workload, x):
  for layer in range(workload.layers):
    kernel, scale, bias = (weights[f"conv{layer}/{part}"] for part in ("kernel", "scale", "bias"))
    stride = 1 if workload.max_pool else 2
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    x = np.einsum("nhwiab,abio->nhwo", windows, kernel)
    x = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    x = np.maximum(x * scale + bias, 0)
    if workload.max_pool:
      x = np.max([x[:, i::2, j::2] for i in range(2) for j in range(2)], axis=0)
  return x.reshape(len(x), -1) if workload.learner == "protonet" else x.mean(axis=(1, 2))


def _arrays(made):
  return made.values() if isinstance(made, dict) else made


def _float64(made):
  if isinstance(made, dict):
    return {name: array.astype(np.float64) for name, array in made.items()}
  return made.astype(np.float64)
