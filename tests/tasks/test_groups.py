"""Tasks from groups of rows: their rows, sizes, class shares and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks import groups
from metajax.tasks.groups import GroupData, at_least, by_group, group_tasks
from metajax.tasks.sampling import listed_task

COUNTS = (4, 9, 6)


@pytest.fixture(autouse=True, params=[groups._SHUFFLED, 0], ids=["shuffled", "chosen"])
def _both_ways_to_draw(request, monkeypatch):
  """All groups are small, and then all are large."""
  monkeypatch.setattr(groups, "_SHUFFLED", request.param)


def source(classes=False):
  """Rows [group, index]; targets are the index, or the class index % 3 == 0."""
  rows = np.asarray([[group, place] for group, count in enumerate(COUNTS) for place in range(count)], np.float32)
  targets = (rows[:, 1] % 3 == 0).astype(np.int32) if classes else rows[:, 1:] * 10
  return GroupData(rows, targets, np.asarray(COUNTS, np.int32), ("a", "b", "c"), "made up.")


def sample(tasks, count=300):
  keys = jax.random.split(jax.random.key(0), count)
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, keys))


def test_a_task_is_one_group_each_row_once_and_the_rest_is_padding():
  support, query = sample(group_tasks(source(), shots=3, queries=4))
  assert support.inputs.shape == (300, 3, 2) and query.targets.shape == (300, 4, 1)
  taken = set()
  for index in range(300):
    rows = np.concatenate([part.inputs[index][part.mask[index]] for part in (support, query)])
    group, = set(rows[:, 0])
    assert len(rows) == min(COUNTS[int(group)], 7) == len({place for _, place in rows})
    targets = np.concatenate([part.targets[index][part.mask[index]] for part in (support, query)])
    np.testing.assert_array_equal(targets[:, 0], rows[:, 1] * 10)
    taken |= {(group, place) for group, place in rows[:3]}
  assert support.mask.all()
  assert taken == {(group, place) for group, count in enumerate(COUNTS) for place in range(count)}
  drawn = support.inputs[:, 0, 0]
  assert all(70 < (drawn == group).sum() < 130 for group in range(3))


def test_strata_keep_their_shares():
  support, query = sample(group_tasks(source(classes=True), shots=3, queries=6, stratified=True), 200)
  large = support.inputs[:, 0, 0] == 1  # three of nine are of class 1
  assert large.any() and (support.targets[large].sum(1) == 1).all()
  assert (np.where(query.mask[large], query.targets[large], 0).sum(1) == 2).all()
  loose = sample(group_tasks(source(classes=True), shots=3, queries=6), 200).support.targets.sum(1)
  assert loose.min() == 0 and loose.max() > 1  # and without stratification they do not


def test_inputs_may_be_any_arrays_and_are_prepared():
  data = source()._replace(inputs={"x": source().inputs, "y": source().inputs[:, 0]})
  tasks = group_tasks(data, shots=1, queries=1, prepare=lambda parts: parts["x"][:, 1] + 100 * parts["y"])
  support = sample(tasks, 50).support
  np.testing.assert_array_equal(support.inputs % 100 * 10, support.targets[..., 0])


def test_rows_are_sorted_by_group():
  data = by_group(jnp.arange(5), np.arange(5), np.asarray(["q", "p", "q", "p", "p"]), "made up.")
  np.testing.assert_array_equal(data.inputs, [1, 3, 4, 0, 2])
  assert data.names == ("p", "q") and data.counts.tolist() == [3, 2]


def test_small_groups_are_left_out_and_said():
  data = at_least(source(), 6)
  assert data.names == ("b", "c") and data.counts.tolist() == [9, 6]
  assert set(data.inputs[:, 0]) == {1, 2} and len(data.targets) == 15
  assert data.source == "made up. 1 groups with fewer than 6 rows are left out."
  assert at_least(source(), 4).source == "made up."
  with pytest.raises(ValueError, match="no group has 10 rows; the largest has 9"):
    at_least(source(), 10)


@pytest.mark.parametrize("settings, sentence", [
    ({"shots": 0}, "shots=0"), ({"queries": 0}, "queries=0"),
    ({"shots": 4}, "no row for a query in group 'a', which has 4"),
    ({"stratified": True}, "only classes can be stratified")])
def test_impossible_tasks_are_refused_in_a_sentence(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    group_tasks(source(), **{"shots": 2, "queries": 2, **settings})


def test_a_test_list_cycles_through_the_groups():
  tasks = group_tasks(source(), shots=3, queries=6, in_turn=True)
  draw = jax.jit(lambda place: listed_task(tasks, tasks.data, jax.random.key(0), place))
  episodes = [draw(place) for place in range(6)]
  assert [int(episode.support.inputs[0, 0]) for episode in episodes] == [0, 1, 2, 0, 1, 2]
  rows = [np.asarray(episodes[place].support.inputs[:, 1]) for place in (1, 4)]
  assert not np.array_equal(*rows)  # the same group, other rows
  plain = group_tasks(source(), shots=3, queries=6)
  drawn = [int(listed_task(plain, plain.data, jax.random.key(0), place).support.inputs[0, 0]) for place in range(9)]
  assert drawn != [0, 1, 2] * 3


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("largest", [2_000, 10_000, 50_000])
def test_the_cost_of_a_draw_does_not_grow_with_the_largest_group(classes, largest):
  counts = np.asarray([10, largest, 30], np.int32)
  targets = np.arange(counts.sum(), dtype=np.int32) % 5 if classes else np.zeros((counts.sum(), 1), np.float32)
  data = GroupData(np.zeros((counts.sum(), 2), np.float32), targets, counts, ("a", "b", "c"), "made up.")
  tasks = group_tasks(data, shots=3, queries=6, stratified=classes)
  sizes = [out.aval.size for equation in jax.make_jaxpr(tasks.sample)(tasks.data, jax.random.key(0)).eqns
           for out in equation.outvars]
  assert max(sizes) < 1000


def test_strata_of_a_large_group_are_drawn_from_all_of_its_rows():
  counts = np.asarray([600, 2, 900], np.int32)
  place = np.concatenate([np.arange(count) for count in counts])
  targets = (place % 3 == 0).astype(np.int32)
  inputs = np.stack([np.repeat(np.arange(3), counts), place], axis=1).astype(np.float32)
  tasks = group_tasks(GroupData(inputs, targets, counts, ("a", "b", "c"), "made up."), shots=1, queries=5,
                      stratified=True)
  support, query = sample(tasks, 2000)
  small = support.inputs[:, 0, 0] == 1
  assert query.mask[~small].all() and (query.mask[small].sum(1) == 1).all()
  both = np.concatenate([support.targets, query.targets], axis=1)
  np.testing.assert_array_equal(both[~small].sum(1), 2)  # a third of six
  rows = np.concatenate([support.inputs, query.inputs], axis=1)[~small]
  assert all(len({(*row,) for row in task}) == 6 and len(set(task[:, 0])) == 1 for task in rows)
  np.testing.assert_array_equal(both[~small], rows[..., 1] % 3 == 0)
  for group, count in ((0, 600), (2, 900)):
    seen = rows[rows[:, 0, 0] == group][..., 1]
    assert len(np.unique(seen)) > 0.98 * count
    np.testing.assert_allclose(seen.mean(), (count - 1) / 2, rtol=0.05)


def test_a_class_that_a_large_group_lacks_is_not_drawn():
  counts = np.asarray([8, 400], np.int32)  # the small one is used up
  group = np.repeat(np.arange(2), counts)
  data = GroupData(group[:, None].astype(np.float32), (2 * group).astype(np.int32), counts, ("a", "b"), "made up.")
  support, query = sample(group_tasks(data, shots=2, queries=6, stratified=True), 50)
  for part in (support, query):
    assert part.mask.all()
    np.testing.assert_array_equal(part.targets, 2 * part.inputs[..., 0])
    assert (part.inputs == part.inputs[:, :1]).all()
