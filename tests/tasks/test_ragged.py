"""Tasks of unequal ways and shots: their ranges, their padding, and their groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax import learners, losses
from metajax.objectives.solve import solve
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import choose
from metajax.tasks.ragged import ragged_tasks
from metajax.types import Network

GROUPS = ("g", "h", "g", "h", "g", "i", "h")


def source(groups=GROUPS):
  """Seven classes of six examples, [class, index]."""
  rows = np.asarray([[number, place] for number in range(7) for place in range(6)], np.float32)
  return ClassData(rows, np.full(7, 6, np.int32), tuple("abcdefg"), "made up", groups)


def sample(tasks, count=300):
  keys = jax.random.split(jax.random.key(0), count)
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, keys))


def counted(part, index):
  """Returns the examples of each label in one task."""
  return np.bincount(part.targets[index][part.mask[index]])


@pytest.mark.parametrize("balanced", [True, False])
def test_ways_and_shots_are_drawn_from_their_ranges(balanced):
  support, query = sample(ragged_tasks(source(), ways=(2, 4), shots=(1, 3), queries=2, balanced=balanced))
  assert support.inputs.shape == (300, 12, 2) and query.mask.shape == (300, 8)
  ways, shots, uneven = set(), set(), 0
  for index in range(300):
    each, asked = counted(support, index), counted(query, index)
    assert len(each) == len(asked) and (asked == 2).all() and each.min() >= 1
    ways.add(len(each))
    shots |= set(each.tolist())
    uneven += len(set(each.tolist())) > 1
    rows = np.concatenate([part.inputs[index][part.mask[index]] for part in (support, query)])
    labels = np.concatenate([part.targets[index][part.mask[index]] for part in (support, query)])
    assert len({tuple(row) for row in rows}) == len(rows)
    classes = [set(rows[labels == label, 0]) for label in range(len(each))]
    assert all(len(one) == 1 for one in classes) and len(set.union(*classes)) == len(each)
  assert ways == {2, 3, 4} and shots == {1, 2, 3} and (uneven > 100) != balanced


def test_classes_are_of_one_group_and_small_groups_have_fewer_ways():
  support, _ = sample(ragged_tasks(source(), ways=(2, 5), shots=(1, 1), queries=1, one_group=True))
  drawn = set()
  for index in range(300):
    classes = support.inputs[index][support.mask[index], 0].astype(int)
    group, = {GROUPS[number] for number in classes}
    drawn.add((group, len(classes)))
  assert drawn == {("g", 2), ("g", 3), ("h", 2), ("h", 3)}  # i has one class, and is never drawn
  mixed, _ = sample(ragged_tasks(source(), ways=(2, 5), shots=(1, 1), queries=1))
  assert any(len({GROUPS[int(number)] for number in mixed.inputs[index][mixed.mask[index], 0]}) > 1
             for index in range(20))


def test_a_learner_does_not_see_the_padding():
  tasks = ragged_tasks(source(), ways=(2, 4), shots=(1, 3), queries=2, balanced=False)
  episode = jax.tree.map(lambda leaf: leaf[3], sample(tasks, 4))
  learner = learners.protonet(Network(lambda key, x: {}, lambda params, x, mask: x), num_classes=4)
  spoilt = jax.tree.map(jnp.asarray, episode)._replace(
      support=episode.support._replace(inputs=np.where(episode.support.mask[:, None], episode.support.inputs, 1e3)))
  assert not episode.support.mask.all()
  each = [solve(learner, losses.softmax_cross_entropy, {}, {}, jax.tree.map(jnp.asarray, one), jax.random.key(0)).loss
          for one in (episode, spoilt)]
  np.testing.assert_array_equal(*each)


def test_a_choice_of_more_than_there_are_begins_with_them_all():
  keys = jax.random.split(jax.random.key(0), 50)
  drawn = np.asarray(jax.vmap(lambda key: choose(key, jnp.int32(3), 5))(keys))
  assert (np.sort(drawn[:, :3]) == [0, 1, 2]).all() and len(np.unique(drawn[:, :3], axis=0)) == 6


@pytest.mark.parametrize("settings, sentence", [
    ({"ways": (1, 3)}, "ways must go from 2"), ({"ways": (4, 3)}, "from 4 to 3"), ({"shots": (0, 2)}, "shots must go"),
    ({"queries": 0}, "queries=0"), ({"ways": (2, 8)}, "more than the 7 available classes"),
    ({"ways": (4, 4), "one_group": True}, "more than the 3 classes of the largest group"),
    ({"shots": (1, 5)}, "up to 5 shots plus queries=2 is more than the 6 examples of class 'a'")])
def test_impossible_tasks_are_refused_in_a_sentence(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    ragged_tasks(source(), **{"ways": (2, 3), "shots": (1, 2), "queries": 2, **settings})
  with pytest.raises(ValueError, match="have no groups"):
    ragged_tasks(source(()), ways=(2, 3), shots=(1, 2), queries=2, one_group=True)
