"""Shared by the transformers written in torch: prompts as tokens, and the loss at every position."""

import torch
from torch import nn
import torch.nn.functional as F

from benchmarks.peers import torch_networks
from benchmarks.workloads import Program, Workload


def prompt_program(model: nn.Module, workload: Workload, seed: int) -> Program:
  """Returns the program of a model from tokens `[T, 2 points, d]` to outputs `[T, 2 points, 1]`.

  Tokens are `x1, y1, x2, y2, ...`, with targets padded with zeros. Predictions are read at x tokens. The tokens are
  built in every step, as for a new batch.
  """
  support_inputs, support_targets, query_inputs, query_targets = torch_networks.tensors(workload, seed)
  inputs, targets = torch.cat([support_inputs, query_inputs], 1), torch.cat([support_targets, query_targets], 1)

  def gradients():
    padded = F.pad(targets, (0, inputs.shape[2] - targets.shape[2]))
    tokens = torch.stack([inputs, padded], dim=2).reshape(inputs.shape[0], -1, inputs.shape[2])
    loss = F.mse_loss(model(tokens)[:, ::2], targets)
    loss.backward()
    return loss.item()

  return torch_networks.with_adam(model.parameters(), gradients)
