"""torch.func: functional MAML. Small networks run all tasks at once by vmap; convolutions run one task at a time.

Convolutions under vmap, with per-task weights, took twice as long.
"""

from torch.func import functional_call, grad_and_value, vmap

from benchmarks.peers import torch_networks
from benchmarks.workloads import SEED, Program, Workload


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, with gradients of functions of the weights."""
  network = torch_networks.network(workload, seed)
  loss = torch_networks.loss(workload)
  weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

  def mean_loss(weights, inputs, targets):
    return loss(functional_call(network, weights, (inputs,)), targets)

  inner = grad_and_value(mean_loss)

  def task_loss(weights, support_inputs, support_targets, query_inputs, query_targets):
    adapted = weights
    for _ in range(workload.inner_steps):
      gradient, _ = inner(adapted, support_inputs, support_targets)
      if workload.first_order:
        gradient = {name: leaf.detach() for name, leaf in gradient.items()}
      adapted = {name: leaf - workload.inner_rate * gradient[name] for name, leaf in adapted.items()}
    return mean_loss(adapted, query_inputs, query_targets)

  if workload.ways:
    one_by_one = torch_networks.tasks(workload, seed)
    task_gradient = grad_and_value(task_loss)

    def gradients():
      total = 0.0
      for task in one_by_one:
        gradient, value = task_gradient(weights, *task)
        total += value.item() / workload.tasks
        for name, leaf in weights.items():
          share = gradient[name] / workload.tasks
          leaf.grad = share if leaf.grad is None else leaf.grad.add_(share)
      return total
  else:
    together = torch_networks.tensors(workload, seed)
    at_once = vmap(task_loss, in_dims=(None, 0, 0, 0, 0))
    batch_gradient = grad_and_value(lambda weights: at_once(weights, *together).mean())

    def gradients():
      gradient, value = batch_gradient(weights)
      for name, leaf in weights.items():
        leaf.grad = gradient[name]
      return value.item()

  return torch_networks.with_adam(weights.values(), gradients)
