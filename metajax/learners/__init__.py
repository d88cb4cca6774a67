"""Learners, one algorithm per file."""

from metajax.learners.anil import anil as anil
from metajax.learners.cnaps import cnaps as cnaps
from metajax.learners.cnaps import simple_cnaps as simple_cnaps
from metajax.learners.cnp import cnp as cnp
from metajax.learners.imaml import imaml as imaml
from metajax.learners.in_context import in_context as in_context
from metajax.learners.maml import maml as maml
from metajax.learners.matchingnet import matchingnet as matchingnet
from metajax.learners.metasgd import metasgd as metasgd
from metajax.learners.projection import with_projection as with_projection
from metajax.learners.protonet import protonet as protonet
from metajax.learners.relationnet import relationnet as relationnet
from metajax.learners.ridge import ridge as ridge
