"""The libraries that metajax is compared with, one module each, with `program(workload, seed) -> Program`.

Their packages and supported workloads are listed here, so that they can be read without importing the libraries.
"""

from typing import NamedTuple

_SINUSOIDS = ("W1", "W1b")
_CONVOLUTIONS = ("W2s", "W2s5", "W2p")


class Peer(NamedTuple):
  """A library to compare with."""
  title: str
  package: str  # its name in the package index
  workloads: tuple[str, ...]
  jax: bool = False  # or torch


PEERS = {
    "learn2learn": Peer("learn2learn", "learn2learn",
                        (*_SINUSOIDS, *_CONVOLUTIONS, "W2s_fo", "W3_1", "W3_4", "W3_32", "W3b_1")),
    "torch_func": Peer("torch.func", "torch", (*_SINUSOIDS, *_CONVOLUTIONS, "W2s_fo")),
    "torchopt": Peer("TorchOpt", "torchopt", (*_SINUSOIDS, *_CONVOLUTIONS)),
    "higher": Peer("higher", "higher", (*_SINUSOIDS, *_CONVOLUTIONS)),
    "jax_meta": Peer("jax-meta", "jax-meta", (*_SINUSOIDS, "W2p"), jax=True),
    "garg": Peer("Garg et al.'s model", "transformers", ("W4_small", "W4_std")),
    "torch_encoder": Peer("torch.nn.TransformerEncoder", "torch", ("W4_small", "W4_std")),
}
