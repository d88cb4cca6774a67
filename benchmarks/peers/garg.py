"""Garg et al.'s in-context learner: GPT-2 from transformers between linear read-in and read-out layers."""

from torch import nn
from transformers import GPT2Config, GPT2Model

from benchmarks.peers import torch_networks
from benchmarks.peers.torch_prompts import prompt_program
from benchmarks.workloads import NORM_EPSILON, SEED, Program, Workload, initial


class _Model(nn.Module):
  def __init__(self, workload: Workload, seed: int):
    super().__init__()
    width, arrays = workload.width, initial(workload, seed)
    self.backbone = GPT2Model(GPT2Config(
        n_positions=2 * workload.points, n_embd=width, n_layer=workload.layers, n_head=workload.heads, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, layer_norm_epsilon=NORM_EPSILON,
        vocab_size=1))  # its token embeddings are not used: it reads vectors
    self.read_in = nn.Linear(workload.shape[0], width)
    self.read_out = nn.Linear(width, 1)
    torch_networks.put_dense(self.read_in, arrays, "read_in")
    torch_networks.put_dense(self.read_out, arrays, "read_out")
    torch_networks.put(self.backbone.wpe.weight, arrays["positions"])
    torch_networks.put_norm(self.backbone.ln_f, arrays, "norm")
    for i, block in enumerate(self.backbone.h):
      torch_networks.put_norm(block.ln_1, arrays, f"block{i}/norm0")
      torch_networks.put_norm(block.ln_2, arrays, f"block{i}/norm1")
      for layer, name in ((block.attn.c_attn, "query_key_value"), (block.attn.c_proj, "mix"), (block.mlp.c_fc, "up"),
                          (block.mlp.c_proj, "down")):
        torch_networks.put_dense(layer, arrays, f"block{i}/{name}", transposed=False)

  def forward(self, tokens):
    return self.read_out(self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state)


def program(workload: Workload, seed: int = SEED) -> Program:
  """Returns the program of a workload, with the model's default attention."""
  return prompt_program(_Model(workload, seed), workload, seed)
