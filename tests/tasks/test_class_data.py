"""Labelled sets made from arrays, and the split of their classes."""

import numpy as np
import pytest

from metajax.tasks.class_data import check_disjoint, from_arrays, split_classes, take_classes


def test_examples_are_sorted_by_class():
  data = from_arrays(np.arange(12).reshape(6, 2), np.asarray([7, 2, 7, 2, 2, 9]), "made up")
  assert data.examples.dtype == np.float32
  np.testing.assert_array_equal(data.examples[:, 0], [2, 6, 8, 0, 4, 10])  # in their original order within a class
  np.testing.assert_array_equal(data.counts, [3, 2, 1])
  assert data.names == ("2", "7", "9") and data.source == "made up"


def test_words_and_named_numbers_are_classes():
  assert from_arrays(np.zeros((3, 1)), np.asarray(["b", "a", "b"])).names == ("a", "b")
  named = from_arrays(np.zeros((3, 1), np.uint8), np.asarray([2, 0, 2]), names=("x", "y", "z"))
  assert named.names == ("x", "z") and named.examples.dtype == np.uint8


def test_some_classes_are_taken_in_the_given_order():
  data = from_arrays(np.arange(6), np.asarray([0, 0, 1, 2, 2, 2]), groups=("g", "h", "i"))
  some = take_classes(data, [2, 0])
  np.testing.assert_array_equal(some.examples, [3, 4, 5, 0, 1])
  np.testing.assert_array_equal(some.counts, [3, 2])
  assert some.names == ("2", "0") and some.groups == ("i", "g")


def test_splits_do_not_overlap_for_any_order_of_classes():
  labels = np.repeat(np.arange(20), 3)
  data = from_arrays(labels.astype(np.float32), labels)
  parts = [split_classes(data, split) for split in ("train", "val", "test")]
  assert [len(part.names) for part in parts] == [12, 4, 4]
  assert {name for part in parts for name in part.names} == set(data.names)
  for part in parts:
    assert (np.repeat([float(name) for name in part.names], 3) == part.examples).all()
  reordered = take_classes(data, list(range(19, -1, -1)))
  assert set(split_classes(reordered, "val").names) == set(parts[1].names)
  assert set(split_classes(data, "val", seed=1).names) != set(parts[1].names)
  check_disjoint({split: part.names for split, part in zip(("train", "val", "test"), parts)}, "made up")


@pytest.mark.parametrize("classes, shares, sizes", [
    (3, (0.6, 0.2, 0.2), [1, 1, 1]), (4, (0.6, 0.2, 0.2), [2, 1, 1]), (3, (0.9, 0.05, 0.05), [1, 1, 1]),
    (10, (0.98, 0.01, 0.01), [8, 1, 1]), (6, (0.6, 0.2, 0.2), [4, 1, 1])])
def test_few_classes_are_shared_by_all_splits(classes, shares, sizes):
  data = from_arrays(np.zeros(classes), np.arange(classes))
  parts = [split_classes(data, split, shares=shares) for split in ("train", "val", "test")]
  assert [len(part.names) for part in parts] == sizes
  assert {name for part in parts for name in part.names} == set(data.names)


@pytest.mark.parametrize("inputs, targets, options, sentence", [
    (np.zeros((3, 1)), np.zeros(2, int), {}, r"same length.*\[3, 1\] and \[2\]"),
    (np.zeros((0, 1)), np.zeros(0, int), {}, "at least 1"),
    (np.zeros((2, 1)), np.zeros(2), {}, "integers or strings"),
    (np.asarray(["a", "b"]), np.zeros(2, int), {}, "inputs must be numbers"),
    (np.zeros(3), np.asarray(["a", " ", "b"]), {}, "target 1 .* is empty"),
    (np.zeros(2), np.asarray([b"", b"b"]), {}, "target 0 .* is empty"),
    (1.7e9 + np.arange(8.0)[:, None], np.arange(8) // 2, {}, "column 0 .* large and almost equal; subtract their mean"),
    (np.stack([np.arange(8), 2 ** 40 + np.arange(8)], 1), np.arange(8) // 2, {}, "column 1 .* almost equal"),
    (np.asarray([0, np.nan]), np.zeros(2, int), {}, "finite"),
    (np.zeros(2), np.asarray([0, 3]), {"names": ("a", "b")}, r"integers in \[0, 2\), but they go from 0 to 3"),
    (np.zeros(2), np.asarray([0, 3]), {"groups": ("a",)}, "2 classes must have a group"),
])
def test_malformed_labelled_sets_are_rejected(inputs, targets, options, sentence):
  with pytest.raises(ValueError, match=sentence):
    from_arrays(inputs, targets, **options)


def test_a_class_in_two_splits_is_refused():
  with pytest.raises(ValueError, match="no class of birds .* 'wren' is in train and in test"):
    check_disjoint({"train": ["wren", "tit"], "test": ["wren"]}, "birds")
  with pytest.raises(ValueError, match="test would have none"):
    split_classes(from_arrays(np.zeros(2), np.arange(2)), "test")
  with pytest.raises(ValueError, match="sum to 1"):
    split_classes(from_arrays(np.zeros(2), np.arange(2)), "val", shares=(1.0, 1.0, 1.0))
  with pytest.raises(ValueError, match="not 'dev'"):
    split_classes(from_arrays(np.zeros(2), np.arange(2)), "dev")
