"""learn2learn: its MAML wrapper, its convolutional networks and its prototypical classifier."""

import importlib.util
import sys
from unittest import mock

import torch

from benchmarks.peers import torch_networks
from benchmarks.workloads import SEED, Program, Workload

# Modules that learn2learn imports for its data sets and environments. The timed code does not need them.
_UNUSED = {"torchvision": ("datasets", "datasets.folder", "datasets.omniglot", "transforms"),
           "gym": ("core", "envs", "envs.registration", "error", "spaces", "utils")}


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, one task at a time, with gradients summed over tasks."""
  l2l = _import()
  network = torch_networks.load(_network(l2l, workload), workload, seed)
  loss = torch_networks.loss(workload)
  tasks = torch_networks.tasks(workload, seed)
  maml = l2l.algorithms.MAML(network, lr=workload.inner_rate, first_order=workload.first_order)

  def adapted(task):
    learner = maml.clone()
    for _ in range(workload.inner_steps):
      learner.adapt(loss(learner(task[0]), task[1]))
    return loss(learner(task[2]), task[3])

  def prototypical(task):
    features = network(torch.cat([task[0], task[2]]))  # together, for the batch norms, as in learn2learn's example
    num_support = len(task[1])
    classifier = l2l.nn.PrototypicalClassifier(features[:num_support], task[1])
    return loss(classifier(features[num_support:]), task[3])

  task_loss = adapted if workload.learner == "maml" else prototypical

  def gradients():
    total = 0.0
    for task in tasks:
      value = task_loss(task) / len(tasks)
      value.backward()
      total += value.item()
    return total

  return torch_networks.with_adam(network.parameters(), gradients)


def _network(l2l, workload: Workload) -> torch.nn.Module:
  models, width, channels = l2l.vision.models, workload.width, workload.shape[-1]
  if workload.learner == "protonet":
    return models.CNN4Backbone(hidden_size=width, channels=channels, max_pool=True)
  if not workload.ways:
    return torch_networks.network(workload, seed=0)
  if workload.max_pool:
    return models.CNN4(workload.ways, hidden_size=width, channels=channels, max_pool=True, embedding_size=width)
  return models.OmniglotCNN(workload.ways, hidden_size=width)


def _import():
  """Returns the library, with stand-ins for unneeded imports that are not installed."""
  if importlib.util.find_spec("learn2learn") is None:
    raise ImportError("learn2learn is not installed; docs/performance.md says how to install it.")
  for package, modules in _UNUSED.items():
    if package not in sys.modules and importlib.util.find_spec(package) is None:
      sys.modules.update({name: mock.MagicMock() for name in (package, *(f"{package}.{part}" for part in modules))})
  import learn2learn
  return learn2learn
