"""metajax: meta-training in JAX, with ConML.

  train, evaluate, adapt   the short path: meta-train a learner, test it, use it
  load                     a finished run as a model that predicts, without its data set
  Examples, Episode        a labelled set; a task, split into support and query
  Network                  a network as two pure functions, whatever library it was written with
  Learner                  an algorithm that learns one task, as five pure functions
  Objective                what meta-training minimises
  TaskDistribution         where tasks come from
  types                    these interfaces, and the letters used in every docstring
  learners, networks       learners, each built on a network
  losses, distances        per-example losses and scores; distances between representations
  contrast                 ConML's equations on arrays of representations, usable from any JAX code
  objectives               episodic, ConML, Reptile, autoregressive: each wraps a learner
  examples                 labelled sets with padding: build, join, index, average
  tasks                    task distributions: formulas, and sampling from arrays
  training                 the compiled step and the loop; `training.evaluation`: frozen test episodes

`estimators` (from an objective to a gradient), `data` (readers, from files to arrays) and `lab` (recipes: whole runs,
comparisons, reports) are imported by their names, the last two with extras of the same name.

Every name is imported on first use, so `from metajax import contrast` imports only jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from metajax import contrast as contrast
  from metajax import examples as examples
  from metajax import learners as learners
  from metajax import losses as losses
  from metajax import networks as networks
  from metajax import objectives as objectives
  from metajax import tasks as tasks
  from metajax import training as training
  from metajax import types as types
  from metajax.contrast import distances as distances
  from metajax.serving.model import load as load
  from metajax.training.short import adapt as adapt
  from metajax.training.short import evaluate as evaluate
  from metajax.training.short import train as train
  from metajax.types import Episode as Episode
  from metajax.types import Examples as Examples
  from metajax.types import Learner as Learner
  from metajax.types import Network as Network
  from metajax.types import Objective as Objective
  from metajax.types import TaskDistribution as TaskDistribution

__all__ = ["adapt", "contrast", "distances", "evaluate", "examples", "learners", "load", "losses",
           "networks", "objectives", "tasks", "train", "training", "types", "Episode", "Examples", "Learner", "Network",
           "Objective", "TaskDistribution"]

# Names that are not direct submodules of this package, and where to find them.
_ELSEWHERE = {
    "distances": "metajax.contrast.distances",
    "adapt": "metajax.training.short:adapt", "evaluate": "metajax.training.short:evaluate",
    "train": "metajax.training.short:train", "Episode": "metajax.types:Episode",
    "Examples": "metajax.types:Examples", "load": "metajax.serving.model:load", "Learner": "metajax.types:Learner",
    "Network": "metajax.types:Network", "Objective": "metajax.types:Objective",
    "TaskDistribution": "metajax.types:TaskDistribution"}


def __getattr__(name: str) -> Any:
  if name not in __all__:
    raise AttributeError(f"module 'metajax' has no attribute {name!r}; it has {', '.join(__all__)}.")
  module, _, attribute = _ELSEWHERE.get(name, f"metajax.{name}").partition(":")
  found = importlib.import_module(module)
  return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
  return __all__
