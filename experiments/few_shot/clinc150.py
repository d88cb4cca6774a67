"""Every learner on vectors, with ConML, on intents of short texts from unseen domains: 5-way 1-shot.

CLINC150 (Larson et al., 2019, https://aclanthology.org/D19-1131): 105 intents of seven domains for training, 15 of
travel for validation, 30 of banking and credit cards for the test. A text is represented by counts of hashed n-grams,
without any pre-training.
--help lists the learners.
Needs: CLINC150, in METAJAX_DATA_DIR or downloaded.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=clinc150:ridge
Common flags: --config.shots=5 --config.data=banking77
Without learning, the nearest class mean of the same n-grams (python -m benchmarks.pixels) reaches 77.1 % with 1 shot
and 92.3 % with 5. After 500 steps, ridge reaches 76.9 % with 1 shot, with and without ConML; ProtoNet with ConML
reaches 78.99 ± 0.76 % (--config=clinc150:protonet, one run, 600 episodes).
"""

from typing import Any, Mapping

from experiments import vector_learners
from experiments.few_shot import vectors
from experiments.settings import changed, choose
from metajax.lab.recipe import Recipe


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `vectors.Config`."""
  # Layers overfit to the words of the training domains: after 200 steps, ProtoNet with two layers had 53 % in unseen
  # domains. Ridge and ProtoNet therefore use weighted n-grams without layers.
  weights = {"hidden": (), "training": {"steps": 500, "learning_rate": 1e-2}}
  return vector_learners.defaults(lambda row: weights if row.layerless else {})


def get_config(learner: str = "ridge") -> vectors.Config:
  """Returns the settings of a learner."""
  return changed(vectors.Config(learner=learner), choose("learner", learner, defaults()))


def build(config: vectors.Config) -> Recipe:
  """Returns the recipe of these settings."""
  choose("data", config.data, {"clinc150": None, "banking77": None})  # other data: the recipe vectors
  return vectors.build(config)
