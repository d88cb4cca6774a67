"""metajax: meta-training in JAX, with ConML.

  Examples, Episode     a labelled set; a task, split in support and query
  Network               a network as two pure functions, whatever library it was written with
  Learner               a way of learning one task, as five pure functions
  Objective             what meta-training minimises
  TaskDistribution      where tasks come from
  types                 these contracts, and the letters used in every docstring
  learners, networks    learners, each made from a network
  losses, distances     per-example losses and scores; distances between representations
  contrast              ConML's formulas, on arrays of representations: for anybody's JAX code
  objectives            episodic, ConML, Reptile, autoregressive: each wraps a learner
  examples              labelled sets with padding: made, joined, thinned, averaged
  training, evaluation  the compiled step and the loop; frozen test episodes

`data` (task distributions), `recipe` and `runs` (whole runs), `reports` and the rest are imported from their modules.
"""

from metajax import contrast as contrast
from metajax import distances as distances
from metajax import evaluation as evaluation
from metajax import examples as examples
from metajax import learners as learners
from metajax import losses as losses
from metajax import networks as networks
from metajax import objectives as objectives
from metajax import training as training
from metajax import types as types
from metajax.types import Episode as Episode
from metajax.types import Examples as Examples
from metajax.types import Learner as Learner
from metajax.types import Network as Network
from metajax.types import Objective as Objective
from metajax.types import TaskDistribution as TaskDistribution

__all__ = ["contrast", "distances", "evaluation", "examples", "learners", "losses", "networks", "objectives",
           "training", "types", "Episode", "Examples", "Learner", "Network", "Objective", "TaskDistribution"]
