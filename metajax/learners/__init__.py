"""Learners, one algorithm a file."""

from metajax.learners.maml import maml as maml
from metajax.learners.protonet import protonet as protonet
