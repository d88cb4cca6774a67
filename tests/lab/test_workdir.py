"""A workdir belongs to one run: another is rejected, with every difference named and nothing changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from metajax.lab import workdir

_CONFIG = {"seed": 0, "hidden": (40, 40), "conml": True, "name": None, "training": {"steps": 10, "learning_rate": 1e-3}}


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_workdir_remembers_its_run(tmp_path):
  folder = workdir.claim(tmp_path / "runs" / "first", "experiments/a.py", _CONFIG)
  assert folder == tmp_path / "runs" / "first" and list(contents(folder)) == ["run.json"]
  assert workdir.read(folder) == {"recipe": "experiments/a.py", "config": {**_CONFIG, "hidden": [40, 40]}}


def test_an_empty_folder_may_be_claimed(tmp_path):
  workdir.claim(str(tmp_path), "a.py", _CONFIG)
  assert workdir.read(str(tmp_path))["recipe"] == "a.py"


@pytest.mark.parametrize("same", [_CONFIG, {**_CONFIG, "hidden": [40, 40]}, dict(reversed(_CONFIG.items()))])
def test_the_same_run_resumes(tmp_path, same):
  workdir.claim(tmp_path, "a.py", _CONFIG)
  (tmp_path / "metrics.csv").write_text("step\n")
  before = contents(tmp_path)
  assert workdir.claim(tmp_path, "a.py", same) == tmp_path
  assert contents(tmp_path) == before


def test_more_steps_continue_a_run_that_may_be_lengthened(tmp_path):
  said, longer = [], {**_CONFIG, "training": {"steps": 20, "learning_rate": 1e-3}}
  workdir.claim(tmp_path, "a.py", _CONFIG, {"data": "x"})
  with pytest.raises(ValueError, match="config.training.steps was 10 and is now 20"):
    workdir.claim(tmp_path, "a.py", longer)
  with pytest.raises(ValueError, match="config.seed was 0 and is now 1"):
    workdir.claim(tmp_path, "a.py", {**longer, "seed": 1}, say=said.append, may_lengthen=True)
  assert not said
  workdir.claim(tmp_path, "a.py", longer, say=said.append, may_lengthen=True)
  assert said == ["Continuing to 20 steps instead of 10, with the result of a run of 20 steps."]
  content = json.loads((tmp_path / "run.json").read_text())
  assert content["config"]["training"]["steps"] == 20 and content["about"] == {"data": "x"}
  with pytest.raises(ValueError, match="config.training.steps was 20 and is now 10"):
    workdir.claim(tmp_path, "a.py", _CONFIG, may_lengthen=True)


def test_more_steps_of_a_schedule_say_what_they_are(tmp_path):
  of = lambda steps: {"training": {"steps": steps, "schedule": "cosine"}}
  said = []
  workdir.claim(tmp_path, "a.py", of(10))
  workdir.claim(tmp_path, "a.py", of(20), say=said.append, may_lengthen=True)
  assert "the cosine schedule depends on the number of steps" in said[0]


def test_a_run_of_an_older_version_has_the_defaults_of_later_settings(tmp_path):
  workdir.claim(tmp_path, "a.py", _CONFIG)
  newer = {**_CONFIG, "training": {**_CONFIG["training"], "patience": 0}}
  assert workdir.claim(tmp_path, "a.py", newer, defaults=newer) == tmp_path
  with pytest.raises(ValueError, match="config.training.patience was 0 and is now 3"):
    workdir.claim(tmp_path, "a.py", {**newer, "training": {**newer["training"], "patience": 3}}, defaults=newer)


def test_each_difference_is_named_and_no_file_changed(tmp_path):
  workdir.claim(tmp_path, "a.py", _CONFIG)
  before = contents(tmp_path)
  other = {**_CONFIG, "seed": 1, "hidden": (40, 41), "training": {"steps": 10, "learning_rate": 0.01}, "new": "x"}
  del other["name"]
  with pytest.raises(ValueError) as raised:
    workdir.claim(tmp_path, "b.py", other)
  message = str(raised.value)
  for words in ("recipe was 'a.py' and is now 'b.py'", "config.seed was 0 and is now 1",
                "config.hidden was [40, 40] and is now [40, 41]",
                "config.training.learning_rate was 0.001 and is now 0.01", "config.new was absent and is now 'x'",
                "config.name was None and is now absent", "name another workdir"):
    assert words in message
  for same in ("config.conml", "config.training.steps"):
    assert same not in message
  assert contents(tmp_path) == before


@pytest.mark.parametrize("before, after", [(True, False), ({"steps": 1}, 3), (1, "1"), (None, 0), ("absent", ...)])
def test_any_other_value_is_a_difference(tmp_path, before, after):
  workdir.claim(tmp_path, "a.py", {"x": before})
  with pytest.raises(ValueError, match=r"config\.x was "):
    workdir.claim(tmp_path, "a.py", {} if after is ... else {"x": after})


_ABOUT = {"versions": {"jax": "1.0"}, "data": "sha256:1", "devices": {"count": 8}}


def test_the_provenance_is_stored_and_changes_are_reported(tmp_path):
  workdir.claim(tmp_path, "a.py", _CONFIG, _ABOUT)
  assert json.loads((tmp_path / "run.json").read_text())["about"] == _ABOUT
  before, said = contents(tmp_path), []
  workdir.claim(tmp_path, "a.py", _CONFIG, _ABOUT, said.append)
  workdir.claim(tmp_path, "a.py", _CONFIG, {"new": 3}, said.append)
  assert not said
  workdir.claim(tmp_path, "a.py", _CONFIG, {**_ABOUT, "versions": {"jax": "2.0"}, "devices": {"count": 1}}, said.append)
  assert len(said) == 1 and "versions.jax was '1.0' and is now '2.0'" in said[0]
  assert "devices.count was 8 and is now 1" in said[0] and contents(tmp_path) == before


def test_other_data_are_another_run(tmp_path):
  workdir.claim(tmp_path, "a.py", _CONFIG, _ABOUT)
  before = contents(tmp_path)
  with pytest.raises(ValueError, match=r"another run: data was 'sha256:1' and is now 'sha256:2'. .*--fork="):
    workdir.claim(tmp_path, "a.py", _CONFIG, {**_ABOUT, "data": "sha256:2"})
  assert contents(tmp_path) == before


def test_files_are_written_atomically(tmp_path):
  path = tmp_path / "x"
  workdir.write_text(path, "Ä")
  assert path.read_bytes() == "Ä".encode()
  with pytest.raises(UnicodeEncodeError):
    workdir.write_text(path, "\ud800")
  assert path.read_bytes() == "Ä".encode()
  workdir.write_arrays(path, {"a.b": np.arange(3)})
  with np.load(path) as arrays:
    np.testing.assert_array_equal(arrays["a.b"], np.arange(3))


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / "thesis.txt").write_text("precious")
  with pytest.raises(ValueError, match=r"holds files but no run \(run\.json is missing\); name a new or an empty"):
    workdir.claim(tmp_path, "a.py", _CONFIG)
  assert contents(tmp_path) == {"thesis.txt": b"precious"}


def test_a_file_is_refused(tmp_path):
  (tmp_path / "file").write_text("mine")
  with pytest.raises(ValueError, match="file is a file; name a folder"):
    workdir.claim(tmp_path / "file", "a.py", _CONFIG)
  assert contents(tmp_path) == {"file": b"mine"}


def test_an_unwritable_workdir_is_rejected(tmp_path):
  (tmp_path / "file").write_text("mine")  # a folder below a file cannot be created, not even by root
  with pytest.raises(ValueError, match=r"file/run cannot be written \(Not a directory\); name another"):
    workdir.claim(tmp_path / "file" / "run", "a.py", _CONFIG)
  with pytest.raises(ValueError, match=r"cannot be written \(File name too long\); name another"):
    workdir.claim(tmp_path / ("x" * 300), "a.py", _CONFIG)
  assert contents(tmp_path) == {"file": b"mine"}


def test_an_address_that_was_made_a_path_is_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match="gs:/bucket/run is not a folder; one in a bucket is <kind>://<bucket>/<folder>"):
    workdir.claim(Path("gs://bucket/run"), "a.py", _CONFIG)
  assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ['{"recipe": "a.py", "config": ', "", "[]", "3", '{"recipe": "a.py"}', "\0\xff",
                                  '{"recipe": "a.py", "config": [1]}'])
def test_a_damaged_run_is_neither_read_nor_overwritten(tmp_path, text):
  (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
  for attempt in (lambda: workdir.read(tmp_path), lambda: workdir.claim(tmp_path, "a.py", _CONFIG)):
    with pytest.raises(ValueError, match=r"run\.json is damaged .*; restore it, or name another workdir"):
      attempt()
  assert contents(tmp_path) == {"run.json": text.encode("latin-1")}


@pytest.mark.parametrize("name", ["empty", "none"])
def test_reading_where_there_is_no_run(tmp_path, name):
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match=rf"{name} holds no run: run\.json is missing"):
    workdir.read(tmp_path / name)
  assert not (tmp_path / "none").exists()


def test_a_crash_while_claiming_leaves_no_half_run(tmp_path, monkeypatch):

  def crash(*_, **__):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr("pathlib.Path.replace", crash)
    with pytest.raises(ValueError, match="No space left on device"):
      workdir.claim(tmp_path / "run", "a.py", _CONFIG)
  assert not (tmp_path / "run" / "run.json").exists()
  workdir.claim(tmp_path / "run", "a.py", _CONFIG)
  assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"] == "a.py"


@pytest.mark.parametrize("about, now, changed", [
    ({"data": "sha256:1"}, "sha256:1", False), ({"data": "sha256:1"}, "sha256:2", True), ({}, "sha256:2", False)])
def test_a_run_knows_whether_its_data_have_changed(tmp_path, about, now, changed):
  workdir.claim(tmp_path, "a.py", _CONFIG, about)
  sentence = workdir.data_changed(tmp_path, now)
  assert bool(sentence) == changed
  assert not changed or "was sha256:1 and is now sha256:2" in sentence
