"""What does not fit together in a recipe ends in one sentence, before anything is compiled for training."""

import jax
import jax.numpy as jnp
import pytest

from metajax import learners, losses, networks, objectives
from metajax.examples import examples
from metajax.lab.session import check
from metajax.training.sharding import TASKS
from metajax.types import Episode, TaskDistribution
from tests.small_runs import build_sinusoid

_WAYS = 3


def classes(labels, padded=False):
  """Tasks of one example of each label in the support and in the query set; with `padded`, the last is padding."""

  def sample(data, key):
    inputs = jax.random.normal(key, (len(labels), 2))
    one = examples(inputs, jnp.asarray(labels, jnp.int32))
    one = one._replace(mask=one.mask.at[-1].set(not padded))
    return Episode(one, one)

  return TaskDistribution(sample)


def build(**changes):
  learner = learners.protonet(networks.mlp((4,), 4, weights="shared"), num_classes=_WAYS)
  loss, good = losses.softmax_cross_entropy, classes([0, 1, 2])
  return build_sinusoid()._replace(**{
      "learner": learner, "test_learner": learner, "loss": loss, "scores": {"accuracy": losses.accuracy},
      "objective": objectives.episodic(learner, loss, axis_name=TASKS), "train_tasks": good, "val_tasks": good,
      "test_tasks": good, "models": None, **changes})


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, 1, -1], [1, 2, 3]])
@pytest.mark.parametrize("kind", ["train", "val", "test"])
def test_a_label_that_is_no_class_is_refused(kind, labels):
  word = {"train": "training", "val": "validation", "test": "test"}[kind]
  wrong = next(label for label in labels if not 0 <= label < _WAYS)
  with pytest.raises(ValueError, match=rf"labels of {word} tasks must be in \[0, 3\), .* but one is {wrong};"):
    check(build(**{f"{kind}_tasks": classes(labels)}))


def test_a_listed_test_task_is_looked_at():
  tasks = classes([0, 1, 2])
  listed = lambda data, key, index: classes([0, 1, 9]).sample(data, key)
  with pytest.raises(ValueError, match="labels of test tasks .* but one is 9"):
    check(build(test_tasks=tasks._replace(listed=listed)))


def test_what_fits_is_taken():
  check(build())
  check(build(train_tasks=classes([0, 1, 2, 99], padded=True), val_tasks=None,
              measures={"share": lambda outputs, targets, mask: jnp.mean(mask)}))
  check(build_sinusoid())


@pytest.mark.parametrize("name, changes, message", [
    ("measure", {"measures": {"each": lambda outputs, targets, mask: outputs[:, 0]}},
     r"the measure 'each' must return one number for a query set, but it returned \[3\]; average"),
    ("score", {"scores": {"all": lambda outputs, targets: jnp.mean(outputs)}}, "the score 'all' must return one"),
    ("loss", {"loss": lambda outputs, targets: outputs}, "loss must return one number per query"),
])
def test_a_measure_that_does_not_fit_the_test_is_refused_before_training(name, changes, message):
  del name
  with pytest.raises(ValueError, match=message):
    check(build(**changes))
