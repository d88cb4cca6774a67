"""A user's own data at first try: few and unequal classes and groups are fitted, and what is not as asked is said."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import own_classes
from experiments.few_shot import few_shot, vectors
from experiments.regression import table
from metajax.tasks.class_data import from_arrays
from tests.experiments.test_sources import check, small

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def classes(sizes):
  return from_arrays(np.zeros((sum(sizes), 2)), np.repeat([f"c{number:02}" for number in range(len(sizes))], sizes))


def fit(sizes, *, any_ways=True, **changes):
  """Fits the settings of protonet to classes of the given sizes, by split."""
  default = few_shot.get_config("protonet")
  config = dataclasses.replace(default, data="folder:p", **changes)
  return own_classes.fit(config, default, dict(zip(("train", "val", "test"), map(classes, sizes))), any_ways)


UNLIKE = ([3, 60, 20, 1, 9], [5, 5], [40, 2, 16])  # of train, val and test


def test_ways_follow_from_the_classes_and_small_ones_are_counted():
  config, splits, said = fit(UNLIKE)
  assert (config.ways, config.train_ways, config.shots) == (2, 4, 1)
  assert {split: data.counts.tolist() for split, data in splits.items()} == {
      "train": [3, 60, 20, 9], "val": [5, 5], "test": [40, 2, 16]}
  assert "config.ways is 2 instead of 5, as there are 4 train, 2 val, 3 test classes" in said
  assert "config.train_ways is 4 instead of 20" in said and "1 train, 0 val, 0 test classes are left out" in said
  assert "1 train, 2 val, 1 test classes have fewer queries" in said


@pytest.mark.parametrize("sizes, changes, ways, train_ways, said", [
    (([20] * 30, [20] * 6, [20] * 9), {}, 5, 20, ""),
    (([20] * 15, [20] * 5, [20] * 5), {}, 5, 15, " Fitted to the data: config.train_ways is 15 instead of 20, as there "
     "are 15 train, 5 val, 5 test classes."),
    (([20] * 9, [20] * 3, [20] * 9), {"train_ways": 0}, 3, 0, None),
    (([20] * 2, [20] * 5, [20] * 5), {"train_ways": 0}, 5, 2, None),
    (([20] * 9, [20] * 3, [20] * 3), {"ways": 3, "train_ways": 9}, 3, 9, "")])
def test_only_what_does_not_fit_is_changed(sizes, changes, ways, train_ways, said):
  config, _, sentence = fit(sizes, **changes)
  assert (config.ways, config.train_ways) == (ways, train_ways)
  assert said is None or sentence == said


def test_a_learner_of_fixed_ways_has_as_many_in_training():
  config, _, _ = fit(([20] * 3, [20] * 4, [20] * 5), any_ways=False, train_ways=0)
  assert (config.ways, config.train_ways) == (3, 0)


def test_queries_are_no_more_than_the_largest_class_has():
  config, _, _ = fit(([4, 3], [5, 3], [6, 3]))
  assert (config.train_queries, config.test_queries) == (3, 5)


@pytest.mark.bad_input
@pytest.mark.parametrize("sizes, changes, sentence", [
    (UNLIKE, {"ways": 4, "train_ways": 9, "min_ways": 7}, "config.ways=2 or less instead of 4, config.train_ways=4 or "
     "less instead of 9, config.min_ways=4 or less instead of 7.$"),
    (([9] * 9, [4] * 9, [9] * 9), {"shots": 6}, "2 classes with more than config.shots=6 .* give config.shots=3 or "),
    (([9] * 3, [9], [9]), {}, "3 train, 1 val, 1 test classes some split has fewer; add classes, 6 or more"),
    (([1] * 9, [1] * 9, [1] * 9), {}, "add classes, .* or examples to them")])
def test_what_was_chosen_and_is_impossible_is_refused_at_once(sizes, changes, sentence):
  with pytest.raises(ValueError, match=sentence):
    fit(sizes, **changes)


def test_benchmarks_are_never_fitted():
  assert [own_classes.is_own(data) for data in ("folder:x", "npz:x", "tfds:x", "cifar-fs", "cub:x", "folder:")] == [
      True, True, True, False, False, False]


@pytest.mark.parametrize("recipe, learner", [(few_shot, "protonet"), (few_shot, "maml"), (vectors, "ridge")])
def test_unlike_classes_train_at_first_try(tmp_path, capsys, recipe, learner):
  targets = np.repeat(np.arange(12), np.arange(1, 13))
  size = (16, 16, 1) if recipe is few_shot else (5,)
  np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).integers(0, 99, (len(targets), *size)), targets=targets)
  config = small(recipe.get_config(learner), data=f"npz:{tmp_path / 'a.npz'}")
  config = dataclasses.replace(config, filters=4, norm="none") if recipe is few_shot else config
  built = check(recipe.build(config))
  assert "Fitted to the data: " in built.notes and "classes are left out" in built.notes
  assert capsys.readouterr().err.strip() in built.notes
  episode = built.test_tasks.sample(built.test_tasks.data, jax.random.key(0))
  assert not episode.query.mask.all() and episode.support.mask.all()


def _table(path, sizes, **columns):
  groups = np.repeat([f"g{number}" for number in range(len(sizes))], sizes)
  numbers = np.random.default_rng(0).normal(size=(3, len(groups)))
  rows = [f"{group},{a:.3f},{b:.3f},{b:.3f},fine" for group, a, b in zip(groups, *numbers[:2])]
  path.write_text("shop,x,z,sales,note\n" + "\n".join(rows) + "\n")
  return dataclasses.replace(small(table.get_config("ridge"), data=str(path), group="shop", target="sales"), **columns)


@pytest.mark.parametrize("sizes", [[4] * 9, [40] * 9, range(2, 11), [2, 40, 40, 3, 40, 5, 5, 40, 40]])
def test_nine_groups_train_at_first_try(tmp_path, sizes):
  built = check(table.build(_table(tmp_path / "a.csv", sizes)))
  assert "columns without numbers are no inputs: note" in built.notes and "sales from 2 column(s)" in built.notes
  assert ("config.shots is" in built.notes) == (list(sizes) != [40] * 9)


def test_groups_left_out_are_counted_in_each_split(tmp_path):
  sizes = [3, 40, 40, 3, 40, 3, 40, 40, 40]
  built = check(table.build(_table(tmp_path / "a.csv", sizes, shots=9)))
  splits = table.tables.load(tmp_path / "a.csv", group="shop", target="sales").splits
  lost = {split: int((data.counts < 10).sum()) for split, data in splits.items()}
  assert sum(lost.values()) == 3 and max(lost.values()) < 3
  assert f"fewer than 10 rows are left out, {', '.join(f'{n} {split}' for split, n in lost.items())};" in built.notes
  kept = {split: len(data.names) - lost[split] for split, data in splits.items()}
  assert f"Groups: {', '.join(f'{n} {split}' for split, n in kept.items())}." in built.notes
  with pytest.raises(ValueError, match="more than config.shots=50 rows in each split, .* give config.shots=39 or less"):
    table.build(_table(tmp_path / "a.csv", [40] * 9, shots=50))
