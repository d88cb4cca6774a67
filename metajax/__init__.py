"""metajax: meta-training in JAX, with ConML.

`contrast` and `distances` stand alone, for anybody's JAX code. `learners` on `networks` make `types.Learner`s,
`objectives` wrap them, `data` gives them tasks, `training` and `evaluation` run them, `recipe` puts it all together.
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
