"""Every learner on vectors, with ConML, on intents of short texts in domains never trained on: 5-way 1-shot.

CLINC150 (Larson et al., 2019, https://aclanthology.org/D19-1131): 105 intents of seven domains to train on, 15 of
travel to validate, 30 of banking and credit cards to test. A text is its counts of hashed n-grams: nothing was trained
before. Learners: those of experiments/vectors.py.
Command: python -m launch.train --config=experiments/clinc150.py:protonet
The flags people want: --config.conml=False --config.shots=5 --config.data=banking77
Without learning (nearest class mean of the same n-grams): python -m benchmarks.pixels
"""

from typing import Any, Mapping

from experiments import vectors
from experiments.settings import choose
from metajax.recipe import Recipe


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its own settings."""
  return vectors.defaults()


def get_config(learner: str = "protonet") -> vectors.Config:
  """Returns the settings of a learner."""
  return vectors.get_config(learner)


def build(config: vectors.Config) -> Recipe:
  """Returns the recipe of these settings."""
  choose("data", config.data, {"clinc150": None, "banking77": None})  # any other: experiments/vectors.py
  return vectors.build(config)
