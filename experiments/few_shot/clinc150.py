"""Every learner on vectors, with ConML, on intents of short texts in domains never trained on: 5-way 1-shot.

CLINC150 (Larson et al., 2019, https://aclanthology.org/D19-1131): 105 intents of seven domains to train on, 15 of
travel to validate, 30 of banking and credit cards to test. A text is its counts of hashed n-grams: nothing was trained
before.
--help lists the learners.
ConML: on by default; --config.conml=False is the plain arm, the same training without it.
Command: python -m launch.train --config=clinc150:ridge
The flags people want: --config.shots=5 --config.data=banking77
Without learning, the nearest class mean of the same n-grams (python -m benchmarks.pixels) gets 77.1 % of 1 shot and
92.3 % of 5. After 500 steps ridge gets 76.9 % of 1 shot, with ConML and without, ProtoNet with ConML 78.99 ± 0.76 %
(--config=clinc150:protonet, one run, 600 episodes).
"""

from typing import Any, Mapping

from experiments import vector_learners
from experiments.few_shot import vectors
from experiments.settings import changed, choose
from metajax.lab.recipe import Recipe


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with the settings in which it differs from `vectors.Config`."""
  # Layers learn the words of the training domains, and nothing of the others: after 200 steps ProtoNet with two of them
  # stood at 53 % in unseen domains. Ridge and ProtoNet on weighted n-grams have no layer to be misled by.
  weights = {"hidden": (), "training": {"steps": 500, "learning_rate": 1e-2}}
  return vector_learners.defaults(lambda row: weights if row.layerless else {})


def get_config(learner: str = "ridge") -> vectors.Config:
  """Returns the settings of a learner."""
  return changed(vectors.Config(learner=learner), choose("learner", learner, defaults()))


def build(config: vectors.Config) -> Recipe:
  """Returns the recipe of these settings."""
  choose("data", config.data, {"clinc150": None, "banking77": None})  # any other: the recipe vectors
  return vectors.build(config)
