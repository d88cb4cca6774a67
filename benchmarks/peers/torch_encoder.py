"""The same transformer as a causal torch.nn.TransformerEncoder: a stronger baseline than Garg et al.'s."""

import functools

import torch
from torch import nn
import torch.nn.functional as F

from benchmarks.peers import torch_networks
from benchmarks.peers.torch_prompts import prompt_program
from benchmarks.workloads import NORM_EPSILON, SEED, Program, Workload, initial


class _Model(nn.Module):
  def __init__(self, workload: Workload, seed: int):
    super().__init__()
    width, arrays = workload.width, initial(workload, seed)
    layer = nn.TransformerEncoderLayer(
        width, workload.heads, 4 * width, dropout=0.0, activation=functools.partial(F.gelu, approximate="tanh"),
        layer_norm_eps=NORM_EPSILON, batch_first=True, norm_first=True)
    self.encoder = nn.TransformerEncoder(layer, workload.layers, nn.LayerNorm(width, eps=NORM_EPSILON),
                                         enable_nested_tensor=False)
    self.read_in = nn.Linear(workload.shape[0], width)
    self.read_out = nn.Linear(width, 1)
    self.positions = nn.Parameter(torch.zeros(2 * workload.points, width))
    self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(2 * workload.points))
    torch_networks.put_dense(self.read_in, arrays, "read_in")
    torch_networks.put_dense(self.read_out, arrays, "read_out")
    torch_networks.put(self.positions, arrays["positions"])
    torch_networks.put_norm(self.encoder.norm, arrays, "norm")
    for i, block in enumerate(self.encoder.layers):
      torch_networks.put_norm(block.norm1, arrays, f"block{i}/norm0")
      torch_networks.put_norm(block.norm2, arrays, f"block{i}/norm1")
      torch_networks.put(block.self_attn.in_proj_weight, arrays[f"block{i}/query_key_value/kernel"].T)
      torch_networks.put(block.self_attn.in_proj_bias, arrays[f"block{i}/query_key_value/bias"])
      for linear, name in ((block.self_attn.out_proj, "mix"), (block.linear1, "up"), (block.linear2, "down")):
        torch_networks.put_dense(linear, arrays, f"block{i}/{name}")

  def forward(self, tokens):
    return self.read_out(self.encoder(self.read_in(tokens) + self.positions, mask=self.mask, is_causal=True))


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, with torch's fused attention."""
  return prompt_program(_Model(workload, seed), workload, seed)
