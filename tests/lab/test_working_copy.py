"""Workdirs in a bucket: what is copied and in which order, and the same results as on disk."""

import contextlib
import os
import pathlib
import shutil
import uuid

import jax.numpy as jnp
import numpy as np
import pytest

from metajax import bucket, serving
from metajax.data import staged
from metajax.lab import working_copy as copies
from metajax.lab.checkpoints import Checkpoints, Keep, Unsaved
from metajax.lab.working_copy import working_copy
from tests import buckets, small_runs


@pytest.fixture(name="address")
def _address():
  """An empty folder of a bucket in memory."""
  return f"memory://{uuid.uuid4().hex}/run"


@pytest.fixture(name="emulators", scope="module")
def _emulators():
  with pytest.MonkeyPatch.context() as patch, buckets.s3() as s3, buckets.gcs() as gcs:
    for name, value in {**s3, **gcs}.items():
      patch.setenv(name, value)
    yield


def content(address):
  """Returns the content of all objects below an address."""
  place = bucket.opened(address)
  return {path: place.files.cat_file(place.at(path)) for path in place.objects()}


def names(folder):
  """Returns the paths of all files below a folder."""
  return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def save(folder, step):
  """Writes a run, metrics and a checkpoint as a run does, keeping two checkpoints."""
  (folder / "run.json").write_text("{}")
  (folder / "metrics.csv").write_text(f"step\n{step}\n")
  with Checkpoints(folder / "checkpoints", keep=Keep(2), alone=True) as checkpoints:
    checkpoints.save(step, {"w": jnp.full(3, step)}, notes=step)


def newest(folder):
  """Returns the step and the state of the newest checkpoint, and the last step of the metrics; None without a run."""
  if not (folder / "run.json").exists():
    assert not list(folder.iterdir())  # nothing that a claim of the folder would refuse
    return None
  with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
    restored = checkpoints.restore({"w": jnp.zeros(3, int)})
  return restored.step, int(restored.state["w"][0]), int((folder / "metrics.csv").read_text().split()[-1])


def test_a_folder_is_used_itself(tmp_path):
  with working_copy(tmp_path) as copy:
    assert copy == (tmp_path, str(tmp_path), True)


def test_what_is_written_is_there_the_next_time(address):
  with working_copy(address) as copy:
    assert copy.name == address and not copy.shared
    save(copy.folder, 1)
    (copy.folder / "deep" / "er").mkdir(parents=True)
    (copy.folder / "deep" / "er" / "x.bin").write_bytes(b"\0\1")
    (copy.folder / "half.json.partial").write_text("half")
  assert not copy.folder.parent.exists()
  with working_copy(address) as copy:
    assert newest(copy.folder) == (1, 1, 1)
    assert (copy.folder / "deep" / "er" / "x.bin").read_bytes() == b"\0\1"
    assert not (copy.folder / "half.json.partial").exists()
    save(copy.folder, 2)
    save(copy.folder, 3)  # removes the first
    (copy.folder / "deep" / "er" / "x.bin").unlink()
  with working_copy(address) as copy:
    assert newest(copy.folder) == (3, 3, 3)
    assert {path.name for path in (copy.folder / "checkpoints").iterdir() if path.name.isdigit()} == {"2", "3"}
    assert not (copy.folder / "deep").exists()
  assert not any(name.endswith((".partial", ".writable")) for name in content(address))


def test_objects_of_others_are_left_alone(address):
  with working_copy(address) as copy:
    save(copy.folder, 1)
  with working_copy(address) as copy:
    bucket.opened(address).write("test_600.json", b"by another command")
    save(copy.folder, 2)
  assert content(address)["test_600.json"] == b"by another command"


def test_the_bucket_has_a_checkpoint_soon_after_it_is_saved(address, monkeypatch):
  monkeypatch.setattr(copies, "_LOOK_SECONDS", 0.01)
  with working_copy(address) as copy:
    save(copy.folder, 1)
    with contextlib.suppress(StopIteration):
      until = iter(range(1000))
      while "run.json" not in bucket.opened(address).objects():
        next(until)
        copies.time.sleep(0.01)
    with working_copy(address, writes=False) as other:
      assert newest(other.folder) == (1, 1, 1)


class _Interrupted(BaseException):
  """Stands for SIGKILL."""


def _interrupted_after(operations):
  """Returns a class of buckets that stop at an operation that changes an object, counted over all of them."""
  left = iter(range(operations))

  class Interrupted(bucket.Bucket):
    """A bucket of a process that is killed; files are copied one by one, so that it may be between any two."""

    def write(self, path, content):
      self._count()
      super().write(path, content)

    def put(self, folder, paths):
      for path in paths:
        self._count()
        super().put(folder, [path])

    def remove(self, paths):
      for path in sorted(paths):
        self._count()
        super().remove([path])

    def _count(self):
      if next(left, None) is None:
        raise _Interrupted

  return Interrupted


def test_a_kill_at_any_moment_loses_no_checkpoint(address, tmp_path):
  """At each single operation of three updates; a state is never older than what an earlier update completed."""
  (tmp_path / "states").mkdir()
  for step in (1, 2, 3):
    if step > 1:
      shutil.copytree(tmp_path / "states" / str(step - 1), tmp_path / "states" / str(step))
    else:
      (tmp_path / "states" / "1").mkdir()
    save(tmp_path / "states" / str(step), step)
  operations, done = 0, 0
  while done < 3:
    place = bucket.opened(f"{address}{operations}")
    copy = copies._Copy(_interrupted_after(operations)(*place), tmp_path / f"work{operations}")
    copy.fetch()
    done = 0
    with contextlib.suppress(_Interrupted):
      for step in (1, 2, 3):
        shutil.rmtree(copy.folder)
        shutil.copytree(tmp_path / "states" / str(step), copy.folder)
        copy.update()
        done = step
    after = copies._Copy(place, tmp_path / f"after{operations}")
    after.fetch()
    for part in after.folder.glob("checkpoints/*/"):  # all are whole
      assert names(part) == names(tmp_path / "states" / part.name / "checkpoints" / part.name)
    found = newest(after.folder)
    step, value, metrics = found or (0, 0, 0)
    assert step == value and done <= step <= metrics and step <= done + 1
    shutil.rmtree(after.folder)
    shutil.copytree(tmp_path / "states" / "3", after.folder)  # the command that is given again
    after.update()
    again = copies._Copy(place, tmp_path / f"again{operations}")
    again.fetch()
    assert newest(again.folder) == (3, 3, 3)
    assert set(content(f"{address}{operations}")) == names(again.folder)
    operations += 1
  assert operations > 20


def test_an_interrupted_command_on_a_new_workdir_leaves_a_new_workdir(address):
  place = bucket.opened(address)
  place.write("run.json.partial", b"")
  place.write("metrics.csv", b"old")
  with working_copy(address) as copy:
    assert not list(copy.folder.iterdir())
    save(copy.folder, 1)
  assert "run.json.partial" not in content(address) and content(address)["metrics.csv"] == b"step\n1\n"


def test_a_test_beside_a_run_leaves_its_unfinished_checkpoint_alone(address):
  with working_copy(address) as copy:
    save(copy.folder, 1)
  bucket.opened(address).write("checkpoints/2/state/0", b"half")
  with working_copy(address, beside=True) as copy:
    assert newest(copy.folder) == (1, 1, 1)
    (copy.folder / "test_600.json").write_text("{}")
  assert {"checkpoints/2/state/0", "test_600.json"} <= set(content(address))
  with working_copy(address) as copy:  # the run again, after it was interrupted
    save(copy.folder, 2)
  assert "checkpoints/2/state/0" not in content(address)


def test_a_checkpoint_that_disappears_while_it_is_copied_is_no_error(address, monkeypatch):
  with working_copy(address) as copy:
    save(copy.folder, 1)
  real, missing = bucket.Bucket.get, iter([True])

  def get(self, paths, folder):
    if next(missing, False):
      raise FileNotFoundError("checkpoints/1/x")
    real(self, paths, folder)

  monkeypatch.setattr(bucket.Bucket, "get", get)
  with working_copy(address) as copy:
    assert newest(copy.folder) == (1, 1, 1)


def test_a_bucket_that_fails_for_a_while_stops_nothing(address, monkeypatch, capsys):
  monkeypatch.setattr(copies, "_LOOK_SECONDS", 0.01)
  monkeypatch.setattr(copies, "_UPDATE_SECONDS", 0.01)
  real, failures = copies._Copy.update, iter([OSError("no network")] * 2)

  def update(self):
    if failure := next(failures, None):
      raise failure
    real(self)

  monkeypatch.setattr(copies._Copy, "update", update)
  with working_copy(address) as copy:
    save(copy.folder, 1)
    while "run.json" not in content(address):
      copies.time.sleep(0.01)
  assert capsys.readouterr().err.count("could not be updated (OSError: no network); trying again") == 1


def test_a_bucket_that_fails_for_good_leaves_the_local_copy(address, monkeypatch):
  def fails(self):
    raise OSError("no network")

  monkeypatch.setattr(copies._Copy, "update", fails)
  with pytest.raises(Unsaved, match="could not be updated .OSError: no network.; nothing is lost: /") as raised:
    with working_copy(address) as copy:
      save(copy.folder, 1)
  assert str(copy.folder) in str(raised.value) and newest(copy.folder) == (1, 1, 1)
  shutil.rmtree(copy.folder.parent)


def test_errors_name_the_workdir_as_the_user_did(address):
  with pytest.raises(ValueError, match=f"^{address} is full$"):
    with working_copy(address) as copy:
      raise ValueError(f"{copy.folder} is full")


@pytest.mark.parametrize("wrong, sentence", [
    ("nowhere://b/x", "nowhere:// is not known; give gs://"),
    ("s3://absent/x", "workdir s3://absent/x cannot be read and written .*check that the bucket exists")])
def test_a_wrong_address_is_a_sentence(wrong, sentence, emulators):
  with pytest.raises(ValueError, match=sentence), working_copy(wrong):
    pass


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_run_in_a_bucket_is_the_run_on_disk(kind, tmp_path, emulators):
  """Also when it is stopped and resumed: from the metrics to the test of each episode, and the stored model."""
  address = f"{kind}://runs/{uuid.uuid4().hex}"
  small_runs.run(small_runs.build_sinusoid(), tmp_path / "disk")
  with pytest.raises(small_runs.runs.Preempted):
    small_runs.run(small_runs.build_sinusoid(), address, stop_requested=small_runs.stop_after(5))
  said, _ = small_runs.run(small_runs.build_sinusoid(), address)
  assert any(line.startswith("Resuming after step 5") for line in said)
  assert any(f"{address}/curves.png" in line for line in said)
  with working_copy(address, writes=False) as copy:
    for name in ("metrics.csv", "test.json", "test_episodes.npz"):
      assert (copy.folder / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()
  x, y = np.linspace(-1, 1, 3, dtype=np.float32)[:, None], np.ones(3, np.float32)
  fit, there = (serving.load(place).adapt(x, y)(x) for place in (tmp_path / "disk", address))
  np.testing.assert_array_equal(fit, there)


def test_a_model_that_is_not_there_is_a_sentence(address):
  with pytest.raises(FileNotFoundError, match=f"{address} has no model.zip: it is written when a run ends"):
    serving.load(address)


def test_data_in_a_bucket_are_copied_once_and_again_when_they_change(address, tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  place = bucket.opened(address)
  place.write("a/1.txt", b"one")
  place.write("b/2.txt", b"two")
  first = pathlib.Path(staged.local(address))
  assert {path.relative_to(first).as_posix(): path.read_bytes() for path in first.rglob("*") if path.is_file()} == {
      "a/1.txt": b"one", "b/2.txt": b"two"}
  time = first.stat().st_mtime_ns
  assert staged.local(address) == str(first) and first.stat().st_mtime_ns == time
  assert pathlib.Path(staged.local(f"{address}/a/1.txt")).read_bytes() == b"one"
  place.write("a/1.txt", b"changed")
  assert (pathlib.Path(staged.local(address)) / "a" / "1.txt").read_bytes() == b"changed"
  assert first.name == "run"  # as in the address
  with pytest.raises(FileNotFoundError, match="but there is nothing"):
    staged.local(f"{address}/c")


def test_of_a_data_directory_only_the_files_of_the_data_set_are_copied(address, tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  place = bucket.opened(address)
  place.write("omniglot/images.zip", b"one")
  place.write("films/large.bin", b"two")
  monkeypatch.setenv("METAJAX_DATA_DIR", address)
  within, root = staged.folders(None, ("omniglot", ""), ("images.zip",))
  assert within == root / "omniglot" and [path.name for path in root.rglob("*")] == ["omniglot", "images.zip"]
  assert staged.folders(os.fspath(tmp_path), ("", "x"), ()) == [tmp_path, tmp_path / "x"]
