"""Tables that the tests write."""

import numpy as np
import pyarrow
from pyarrow import csv, parquet
import pytest

from metajax.data import tables


def columns(groups=5, rows=4):
  """Columns of a made-up study; `dose` and `pressure` encode the row."""
  number = np.arange(groups * rows)
  return {"patient": [f"p{each}" for each in number % groups], "dose": number * 2.0, "age": number % 7,
          "pressure": number * 3.0 + 5, "ill": np.where(number % 2 == 0, "yes", "no")}


def write(path, changes={}):
  table = pyarrow.table({**columns(), **changes})
  (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(table, path)
  return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_one_task_a_group_standardised_by_the_training_groups(tmp_path, suffix):
  path = write(tmp_path / f"study{suffix}")
  table = tables.load(path, group="patient", target="pressure", inputs=("dose", "age"))
  assert [len(data.names) for data in table.splits.values()] == [3, 1, 1]
  assert {name for data in table.splits.values() for name in data.names} == {f"p{each}" for each in range(5)}
  assert table.columns == ("dose", "age") and table.classes == ()
  train = table.splits["train"]
  np.testing.assert_allclose(train.inputs.mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(train.inputs.std(0), 1, rtol=1e-5)
  np.testing.assert_allclose(train.targets.std(), 1, rtol=1e-5)
  raw = columns()
  of_train = np.isin(raw["patient"], train.names)
  mean, spread = raw["pressure"][of_train].mean(), raw["pressure"][of_train].std()
  np.testing.assert_allclose(table.target_scale, spread, rtol=1e-6)
  for data in table.splits.values():
    expected = [raw["pressure"][[name == patient for patient in raw["patient"]]] for name in data.names]
    np.testing.assert_allclose(data.targets[:, 0] * spread + mean, np.concatenate(expected), rtol=1e-4)
    np.testing.assert_array_equal(data.counts, [4] * len(data.names))
    assert data.targets.shape == (4 * len(data.names), 1) and data.inputs.dtype == np.float32


def test_a_word_or_number_can_be_the_class(tmp_path):
  path = write(tmp_path / "study.csv")
  table = tables.load(path, group="patient", target="ill", classification=True, inputs=("dose",))
  assert table.classes == ("no", "yes") and table.target_scale == 1
  assert table.splits["test"].targets.dtype == np.int32 and set(table.splits["test"].targets) == {0, 1}
  assert len(tables.load(path, group="patient", target="age", classification=True, inputs=("dose",)).classes) == 7


def test_splits_of_ones_own_are_kept(tmp_path):
  words = {"p0": "train", "p1": "train", "p2": "val", "p3": "test", "p4": "test"}
  path = write(tmp_path / "a.csv", {"part": [words[each] for each in columns()["patient"]]})
  table = tables.load(path, group="patient", target="dose", inputs=("age",), split="part")
  assert {name: data.names for name, data in table.splits.items()} == {
      "train": ("p0", "p1"), "val": ("p2",), "test": ("p3", "p4")}
  shared = write(tmp_path / "b.csv", {"part": ["train"] * 10 + ["val"] * 5 + ["test"] * 5})
  with pytest.raises(ValueError, match="'p0' is in train and in val"):
    tables.load(shared, group="patient", target="dose", inputs=("age",), split="part")


def test_all_other_columns_are_the_inputs(tmp_path):
  path = write(tmp_path / "a.csv", {"ill": [1] * 20})
  assert tables.load(path, group="patient", target="pressure").columns == ("dose", "age", "ill")
  assert np.isfinite(tables.load(path, group="patient", target="pressure").splits["train"].inputs).all()  # a constant


@pytest.mark.bad_input
@pytest.mark.parametrize("changes, settings, sentence", [
    ({}, {"target": "weight"}, "no column 'weight'; its columns are patient, dose"),
    ({}, {"inputs": ()}, "column 'ill' .* must hold numbers, but holds string"),
    ({"dose": [None, *range(19)]}, {}, "column 'dose' .* no finite number in row 1"),
    ({"dose": [*range(19), float("inf")]}, {}, "column 'dose' .* no finite number in row 20"),
    ({"patient": ["p0", None] * 10}, {}, "column 'patient' .* no value in row 2|p0"),
    ({"patient": ["p0"] * 20}, {}, "cannot be split|no row in its|would have none"),
    ({"ill": ["no"] * 20}, {"target": "ill", "classification": True}, "names 1 class"),
])
def test_an_invalid_table_gives_one_sentence(tmp_path, changes, settings, sentence):
  path = write(tmp_path / "a.parquet", changes)
  with pytest.raises(ValueError, match=sentence):
    tables.load(path, **{"group": "patient", "target": "pressure", "inputs": ("dose",), **settings})


def test_files_that_are_not_tables_are_rejected(tmp_path):
  with pytest.raises(FileNotFoundError, match="no file .*nowhere.csv"):
    tables.load(tmp_path / "nowhere.csv", group="a", target="b")
  for name, contents in (("a.parquet", b"<html>"), ("b.csv", b'a,b\n"1'), ("c.txt", b"a,b\n1,2\n"), ("d.csv", b"")):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=f"{name}|no column|must be a file"):
      tables.load(tmp_path / name, group="a", target="b")
