"""Networks, independent of meta-learning."""

from metajax.networks.conv4 import conv4 as conv4
from metajax.networks.equinox import from_equinox as from_equinox
from metajax.networks.linen import from_linen as from_linen
from metajax.networks.mlp import mlp as mlp
from metajax.networks.nnx import from_nnx as from_nnx
