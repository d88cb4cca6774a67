"""Lake's 20 runs: a miniature zip that the tests write, and the real one if available."""

import io
import os
from pathlib import Path
import re
import zipfile

from PIL import Image
import jax
import numpy as np
import pytest

from metajax.data import lake_runs
from metajax.tasks.sampling import listed_task


def drawing(run, number, kind):
  """A drawing that encodes the run by its height, the number by its length, and the kind by its position."""
  pixels = np.ones((105, 105), bool)
  pixels[50 * kind:50 * kind + 2 + run, :5 * number] = False
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def item(run, number):
  """Returns the class that a query drawing shows."""
  return (number + run) % 20 + 1


def write(folder, changed=None):
  folder.mkdir(parents=True)
  members = {}
  for run in range(1, 21):
    lines = []
    for number in range(1, 21):
      members[f"run{run:02d}/training/class{number:02d}.png"] = drawing(run, number, 0)
      members[f"run{run:02d}/test/item{number:02d}.png"] = drawing(run, item(run, number), 1)
      lines.append(f"run{run:02d}/test/item{number:02d}.png run{run:02d}/training/class{item(run, number):02d}.png \n")
    members[f"run{run:02d}/class_labels.txt"] = "".join(lines).encode()
  members |= changed or {}
  with zipfile.ZipFile(folder / "all_runs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in members.items():
      if content is not None:
        archive.writestr(name, content)
  return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  folder = write(tmp_path_factory.mktemp("runs") / "one-shot-classification")
  return lake_runs.load(image_size=105, data_dir=folder.parent)


def test_every_drawing_is_at_its_place(runs):
  assert runs.shown.shape == runs.asked.shape == (20, 20, 105, 105, 1) and runs.shown.dtype == np.uint8
  for run, number in ((1, 1), (7, 20), (20, 13)):
    ink = np.asarray(runs.shown[run - 1, number - 1, ..., 0]) == 255
    assert ink.sum() == (2 + run) * 5 * number and ink[:2 + run, :5 * number].all()
    meant = int(runs.classes[run - 1, number - 1]) + 1
    assert meant == item(run, number)
    assert (runs.asked[run - 1, number - 1] == 255).sum() == (runs.shown[run - 1, meant - 1] == 255).sum()


def test_a_test_list_cycles_through_the_runs(runs):
  tasks = lake_runs.run_tasks(runs)
  draw = jax.jit(lambda place: listed_task(tasks, tasks.data, jax.random.key(0), place))
  for place in (0, 19, 33):
    support, query = draw(place)
    np.testing.assert_array_equal(support.inputs * 255, runs.shown[place % 20])
    np.testing.assert_array_equal(query.targets, runs.classes[place % 20])
    assert support.targets.tolist() == list(range(20)) and support.mask.all() and query.mask.all()
  drawn = jax.vmap(tasks.sample, (None, 0))(tasks.data, jax.random.split(jax.random.key(0), 100)).query.targets[:, 0]
  assert len(set(drawn.tolist())) > 10


@pytest.mark.parametrize("changed, sentence", [
    ({"run03/training/class07.png": None}, "run03/training/class07.png cannot be read"),
    ({"run03/training/class07.png": b"no picture"}, "run03/training/class07.png cannot be read"),
    ({"run20/test/item20.png": drawing(1, 1, 1) + b"x" * 200_000}, "it declares"),
    ({"run02/class_labels.txt": b"run02/test/item01.png run02/training/class01.png\n"}, "each of the 20 classes once"),
    ({"run02/class_labels.txt": b"\xff\xfe"}, "run02/class_labels.txt cannot be read")])
def test_another_file_is_refused(tmp_path, changed, sentence):
  with pytest.raises(ValueError, match=re.escape(sentence)):
    lake_runs.load(image_size=4, data_dir=write(tmp_path / "omniglot", changed))


def test_missing_runs_are_reported(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path))
  with pytest.raises(FileNotFoundError, match="set METAJAX_DATA_DIR"):
    lake_runs.load()
  (tmp_path / "all_runs.zip").write_bytes(b"no zip")
  with pytest.raises(ValueError, match="its table of contents cannot be read"):
    lake_runs.load()


def test_the_real_runs():
  folder = Path(os.environ.get("METAJAX_DATA_DIR", "nowhere"))
  if not any(folder.rglob("all_runs.zip")):
    pytest.skip("METAJAX_DATA_DIR has no all_runs.zip: tests on Lake's real runs are SKIPPED")
  runs = lake_runs.load(data_dir=folder)
  assert all(sorted(each) == list(range(20)) for each in runs.classes.tolist())
  # Drawings of one class by two drawers are more similar than those of two classes: nearest pixels beat chance.
  shown, asked = (part.reshape(20, 20, -1).astype(np.float32) for part in (runs.shown, runs.asked))
  nearest = np.square(asked[:, :, None] - shown[:, None]).sum(-1).argmin(-1)
  assert np.mean(nearest == runs.classes) > 0.1
