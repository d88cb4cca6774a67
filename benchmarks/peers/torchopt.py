"""TorchOpt: differentiable SGD in the inner loop. Small networks use its functional form under vmap, others MetaSGD."""

import torch
from torch.func import functional_call, grad, grad_and_value, vmap
import torchopt

from benchmarks.peers import torch_networks
from benchmarks.workloads import SEED, Program, Workload


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, in the faster of the library's two forms."""
  return (_by_meta_sgd if workload.ways else _functional)(workload, seed)


def _functional(workload: Workload, seed: int) -> Program:
  network = torch_networks.network(workload, seed)
  loss = torch_networks.loss(workload)
  weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
  together = torch_networks.tensors(workload, seed)
  descent = torchopt.sgd(lr=workload.inner_rate)

  def mean_loss(weights, inputs, targets):
    return loss(functional_call(network, weights, (inputs,)), targets)

  def task_loss(weights, support_inputs, support_targets, query_inputs, query_targets):
    state = descent.init(weights)
    for _ in range(workload.inner_steps):
      gradient = grad(mean_loss)(weights, support_inputs, support_targets)
      updates, state = descent.update(gradient, state, inplace=False)
      weights = torchopt.apply_updates(weights, updates, inplace=False)
    return mean_loss(weights, query_inputs, query_targets)

  at_once = vmap(task_loss, in_dims=(None, 0, 0, 0, 0))
  batch_gradient = grad_and_value(lambda weights: at_once(weights, *together).mean())

  def gradients():
    gradient, value = batch_gradient(weights)
    for name, leaf in weights.items():
      leaf.grad = gradient[name]
    return value.item()

  return torch_networks.with_adam(weights.values(), gradients)


def _by_meta_sgd(workload: Workload, seed: int) -> Program:
  network = torch_networks.network(workload, seed)
  loss = torch_networks.loss(workload)
  one_by_one = torch_networks.tasks(workload, seed)
  descent = torchopt.MetaSGD(network, lr=workload.inner_rate)
  kept = [torchopt.extract_state_dict(part, by="reference") for part in (network, descent)]
  parameters = list(network.parameters())

  def gradients():
    total = torch.zeros(())
    for support_inputs, support_targets, query_inputs, query_targets in one_by_one:
      for _ in range(workload.inner_steps):
        descent.step(loss(network(support_inputs), support_targets))
      value = loss(network(query_inputs), query_targets) / workload.tasks
      value.backward()
      total += value.detach()
      for part, state in zip((network, descent), kept):
        torchopt.recover_state_dict(part, state)
    return total.item()

  return torch_networks.with_adam(parameters, gradients)
