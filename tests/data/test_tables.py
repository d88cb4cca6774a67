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
  np.testing.assert_allclose(table.target.spread[0], spread, rtol=1e-6)
  for data in table.splits.values():
    expected = [raw["pressure"][[name == patient for patient in raw["patient"]]] for name in data.names]
    np.testing.assert_allclose(data.targets[:, 0] * spread + mean, np.concatenate(expected), rtol=1e-4)
    np.testing.assert_array_equal(data.counts, [4] * len(data.names))
    assert data.targets.shape == (4 * len(data.names), 1) and data.inputs.dtype == np.float32


def test_a_word_or_number_can_be_the_class(tmp_path):
  path = write(tmp_path / "study.csv")
  table = tables.load(path, group="patient", target="ill", classification=True, inputs=("dose",))
  assert table.classes == ("no", "yes") and table.target is None
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


def test_columns_of_words_are_no_inputs_unless_named(tmp_path):
  table = tables.load(write(tmp_path / "a.csv"), group="patient", target="pressure")
  assert table.columns == ("dose", "age") and table.left_out == ("ill",)
  assert tables.load(tmp_path / "a.csv", group="patient", target="pressure", inputs=("age",)).left_out == ()


def test_all_other_columns_are_the_inputs(tmp_path):
  path = write(tmp_path / "a.csv", {"ill": [1] * 20})
  assert tables.load(path, group="patient", target="pressure").columns == ("dose", "age", "ill")
  assert np.isfinite(tables.load(path, group="patient", target="pressure").splits["train"].inputs).all()  # a constant


@pytest.mark.bad_input
@pytest.mark.parametrize("changes, settings, sentence", [
    ({}, {"target": "weight"}, "no column 'weight'; its columns are patient, dose"),
    ({}, {"inputs": ("dose", "ill")}, "column 'ill' .* must hold numbers, but holds string"),
    ({"dose": ["a"] * 20, "age": ["b"] * 20}, {"inputs": ()}, "no column of numbers to predict 'pressure' from"),
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


OFFSETS = {"nanoseconds of a clock": 1_700_000_000 * 10 ** 9 + 10 ** 9 * np.arange(20),
           "kelvin, microkelvin apart": 293.15 + 1e-6 * np.arange(20.0), "money": 10 ** 12 - 7 * np.arange(20),
           "a tiny number": 1e-30 * np.arange(20)}


@pytest.mark.parametrize("role", ["inputs", "targets"])
@pytest.mark.parametrize("numbers", OFFSETS.values(), ids=OFFSETS)
def test_numbers_with_a_large_offset_keep_their_differences(tmp_path, numbers, role):
  path = write(tmp_path / "a.parquet", {"dose" if role == "inputs" else "pressure": numbers})
  table = tables.load(path, group="patient", target="pressure", inputs=("dose",))
  known = np.isin(columns()["patient"], table.splits["train"].names)
  centred = numbers - numbers[0]  # exact
  expected = (centred - centred[known].mean()) / centred[known].std()
  for data in table.splits.values():
    own = np.concatenate([expected[np.asarray(columns()["patient"]) == name] for name in data.names])
    np.testing.assert_allclose(getattr(data, role)[:, 0], own, atol=1e-3)


@pytest.mark.parametrize("value", [0.1, 1.7e9 + 0.3, 0.0])
def test_a_column_that_is_constant_in_training_is_not_magnified(tmp_path, value):
  path = write(tmp_path / "a.parquet", {"dose": np.full(20, value)})
  table = tables.load(path, group="patient", target="pressure", inputs=("dose",))
  assert all(np.abs(data.inputs).max() < 1e-6 for data in table.splits.values())


@pytest.mark.bad_input
@pytest.mark.parametrize("word", ["", "   ", "NA", "NaN", "null"])
@pytest.mark.parametrize("column", ["patient", "ill"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_missing_word_is_no_group_and_no_class(tmp_path, suffix, column, word):
  words = [*columns()[column]]
  words[6] = word
  path = write(tmp_path / f"a{suffix}", {column: words})
  with pytest.raises(ValueError, match=f"column '{column}' .* has no value in row 7"):
    tables.load(path, group="patient", target="ill", inputs=("dose",), classification=True)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("cell", ['"one\ntwo"', '"one\r\ntwo, ""three"""', '"\n\n"'])
def test_cells_of_several_lines_are_read_in_a_large_file(tmp_path, cell, end):
  rows = 20_000  # more than one block of the reader
  lines = [f'p{row % 6},{row},{row / 2},{cell},{"x" * 60}' for row in range(rows)]
  (tmp_path / "a.csv").write_bytes(end.join(["g,x,y,note,more", *lines, ""]).encode())
  table = tables.load(tmp_path / "a.csv", group="g", target="y", inputs=("x",))
  assert sum(len(data.targets) for data in table.splits.values()) == rows


def test_decimals_are_numbers(tmp_path):
  exact = pyarrow.array(range(20)).cast(pyarrow.decimal128(25, 2))
  table = tables.load(write(tmp_path / "a.parquet", {"dose": exact}), group="patient", target="pressure",
                      inputs=("dose",))
  plain = tables.load(write(tmp_path / "b.parquet", {"dose": range(20)}), group="patient", target="pressure",
                      inputs=("dose",))
  np.testing.assert_array_equal(table.splits["train"].inputs, plain.splits["train"].inputs)
