"""A fork continues another run with other settings; it is created atomically, and the source is unchanged."""

import json
import shutil

import numpy as np
import pytest

from metajax.lab import run as runs
from metajax.lab import workdir
from metajax.lab.checkpoints import Checkpoints
from metajax.lab.fork import fork
from tests.small_runs import build_sinusoid

_CONFIG, _ABOUT = {"steps": 12}, {"data": "sha256:1"}


def _contents(folder):
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp("source")
  workdir.claim(folder, "a.py", {"steps": 8})
  runs.train(build_sinusoid(), folder, say=lambda _: None)
  return folder


def _fork(source, folder, **training):
  built = build_sinusoid(**{"steps": 12, **training})
  fork(source, folder, built, "a.py", _CONFIG, _ABOUT, say=lambda _: None)
  return built


def test_a_fork_continues(source, tmp_path):
  before, folder = _contents(source), tmp_path / "runs" / "fork"
  folder.mkdir(parents=True)
  built = _fork(source, folder, learning_rate=0.5)
  assert _contents(source) == before
  assert workdir.read(folder) == {"recipe": "a.py", "config": _CONFIG}
  assert json.loads((folder / "run.json").read_text())["about"]["forked"] == {"from": str(source), "step": 8}
  held = _contents(folder)
  _fork(source, folder)  # the same command again
  assert _contents(folder) == held and list(folder.parent.iterdir()) == [folder]

  runs.train(built, folder, say=lambda _: None)
  table = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True)
  assert table["step"].tolist() == [2, 4, 6, 8, 10, 12]
  assert (folder / "metrics.csv").read_bytes().startswith((source / "metrics.csv").read_bytes())


def test_a_fork_of_equal_settings_is_the_longer_run(source, tmp_path):
  _fork(source, tmp_path / "fork")
  runs.train(build_sinusoid(steps=12), tmp_path / "fork", say=lambda _: None)
  (tmp_path / "whole").mkdir()
  runs.train(build_sinusoid(steps=12), tmp_path / "whole", say=lambda _: None)
  digests = []
  for name in ("fork", "whole"):
    with Checkpoints(tmp_path / name / "checkpoints", read_only=True) as checkpoints:
      assert checkpoints.steps()[-1] == 12
    digests.append(json.loads(next((tmp_path / name / "checkpoints" / "12" / "about").iterdir()).read_text())["digest"])
  assert digests[0] == digests[1]
  assert (tmp_path / "fork" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_an_interrupted_fork_leaves_no_run(source, tmp_path):
  (tmp_path / "fork.forking" / "checkpoints").mkdir(parents=True)
  _fork(source, tmp_path / "fork")
  assert (tmp_path / "fork" / "checkpoints" / "8").is_dir() and not (tmp_path / "fork.forking").exists()


@pytest.mark.parametrize("prepare, training, words", [
    (lambda source, folder: folder.write_text("mine"), {}, "is not empty; name another"),
    (lambda source, folder: (folder.mkdir(), (folder / "x").write_text("mine")), {}, "is not empty; name another"),
    (None, {"steps": 8}, "is already at step 8, so there is nothing left to do in 8 steps"),
    (None, {"skip_nonfinite": 3}, "no checkpoint that fits these settings"),  # another optimizer has another state
])
def test_invalid_forks_are_rejected(source, tmp_path, prepare, training, words):
  if prepare is not None:
    prepare(source, tmp_path / "fork")
  before = _contents(tmp_path), _contents(source)
  with pytest.raises(ValueError, match=words):
    _fork(source, tmp_path / "fork", **training)
  assert (_contents(tmp_path), _contents(source)) == before


@pytest.mark.parametrize("name, words", [("none", "holds no run"), ("claimed", "has no checkpoint yet")])
def test_nothing_to_fork_from(tmp_path, name, words):
  workdir.claim(tmp_path / "claimed", "a.py", {})
  with pytest.raises(ValueError, match=words):
    _fork(tmp_path / name, tmp_path / "fork")
  assert not (tmp_path / "fork").exists()


@pytest.fixture
def on_data(source, tmp_path):
  """The same run, with the digest of its data."""
  shutil.copytree(source, tmp_path / "source")
  run = json.loads((source / "run.json").read_text())
  run["about"] = {"data": "sha256:0"}
  (tmp_path / "source" / "run.json").write_text(json.dumps(run))
  return tmp_path / "source"


@pytest.mark.parametrize("config", [{"steps": 8}, {"steps": 8, "training": {"steps": 12}},
                                    {"steps": 8, "seed": 1, "test": {"episodes": 9}, "conml": False}])
def test_a_fork_onto_data_that_have_changed_is_refused(on_data, tmp_path, config):
  with pytest.raises(ValueError, match="data of .* have changed: their digest was sha256:0 and is now sha256:1"):
    fork(on_data, tmp_path / "fork", build_sinusoid(steps=12), "a.py", config, _ABOUT)
  assert not (tmp_path / "fork").exists()
  fork(on_data, tmp_path / "fork", build_sinusoid(steps=12), "a.py", config, {"data": "sha256:0"})


def test_a_fork_onto_other_data_by_ones_own_choice_says_so(on_data, tmp_path):
  said = []
  config = {"steps": 8, "data": "b"}
  fork(on_data, tmp_path / "fork", build_sinusoid(steps=12), "a.py", config, _ABOUT, say=said.append)
  assert said[0] == ("The fork has other data than its source (data changed), so classes of the source's training may "
                     "be classes of its test.")
