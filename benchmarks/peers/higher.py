"""higher: its differentiable inner loop around an unchanged module and SGD, one task at a time."""

import higher
import torch

from benchmarks.peers import torch_networks
from benchmarks.workloads import SEED, Program, Workload


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, with second-order gradients."""
  network = torch_networks.network(workload, seed)
  loss = torch_networks.loss(workload)
  one_by_one = torch_networks.tasks(workload, seed)
  descent = torch.optim.SGD(network.parameters(), lr=workload.inner_rate)

  def gradients():
    total = 0.0
    for support_inputs, support_targets, query_inputs, query_targets in one_by_one:
      with higher.innerloop_ctx(network, descent, copy_initial_weights=False) as (adapted, differentiable):
        for _ in range(workload.inner_steps):
          differentiable.step(loss(adapted(support_inputs), support_targets))
        value = loss(adapted(query_inputs), query_targets) / workload.tasks
        value.backward()
        total += value.item()
    return total

  return torch_networks.with_adam(network.parameters(), gradients)
