"""Damaged files of every kind: reading gives a ValueError with one sentence, or the original contents; nothing else.

A file is truncated, has changed bytes, or is a different file; hypothesis chooses where and how. Malicious files
(pickles, decompression bombs, paths that lead elsewhere) have separate tests below.
"""

import csv
import gzip
import io
import json
import os
from pathlib import Path
import shutil
import zipfile

from PIL import Image
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pyarrow
from pyarrow import parquet
import pytest

from launch import tuned
from metajax.data import cifar100, folders, fsmol, npz, tables, text
from metajax.lab import workdir
from metajax.lab.reports.writers import read_csv
from tests.data import test_fsmol
from tests.test_bad_inputs import answer, refusal

pytestmark = pytest.mark.bad_input

_many = settings(max_examples=40, deadline=None, derandomize=True, database=None)
# Pillow warns of images with tolerable damage.
_warned = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield


def _npz(folder):
  np.savez(folder / "a.npz", inputs=np.arange(24.0).reshape(12, 2), targets=np.arange(12) % 6)
  return folder / "a.npz", lambda: npz.load(folder / "a.npz", "train")


def _small_npz(folder):
  np.savez_compressed(folder / "a.npz", inputs=np.arange(24.0).reshape(12, 2), targets=np.arange(12) % 6)
  return folder / "a.npz", lambda: npz.load(folder / "a.npz", "train")


_ROWS = {"g": [f"t{row % 6}" for row in range(18)], "x": [float(row) for row in range(18)], "y": [0.5] * 18}


def _csv(folder):
  with open(folder / "a.csv", "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows([_ROWS, *zip(*_ROWS.values())])
  return folder / "a.csv", lambda: tables.load(folder / "a.csv", group="g", target="y")


def _parquet(folder):
  parquet.write_table(pyarrow.table(_ROWS), folder / "a.parquet")
  return folder / "a.parquet", lambda: tables.load(folder / "a.parquet", group="g", target="y")


def _image(suffix):

  def make(folder):
    for name in "abcdef":
      (folder / "p" / name).mkdir(parents=True)
      Image.effect_noise((12, 9), 80).save(folder / "p" / name / f"0{suffix}")
    return folder / "p" / "a" / f"0{suffix}", lambda: folders.load(folder / "p", "train", image_size=4)

  return make


def _intents(folder):
  (folder / "domains.json").write_text(json.dumps({domain: [f"{domain}_intent"] for domains in text.DOMAINS.values()
                                                   for domain in domains}))
  texts = [[f"do it {row}", f"{domain}_intent"] for domain in text.DOMAINS["train"] for row in range(3)]
  with gzip.open(folder / "data_full.json.gz", "wt") as file:
    json.dump({"train": texts, "val": texts, "test": texts}, file)
  return folder / "data_full.json.gz", lambda: text.clinc150("train", data_dir=folder, width=8)


def _domains(folder):
  _intents(folder)
  return folder / "domains.json", lambda: text.clinc150("train", data_dir=folder, width=8)


def _banking(folder):
  for name in ("train.csv", "test.csv"):
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
      csv.writer(file).writerows([("text", "category"), *((f"pay {row}", f"i{row % 5}") for row in range(10))])
  return folder / "test.csv", lambda: text.banking77("train", data_dir=folder, width=8)


def _molecules(name):

  def make(folder):
    test_fsmol.write(folder / "fsmol")
    return folder / "fsmol" / name, lambda: fsmol.load("train", data_dir=folder)

  return make


def _run(folder):
  workdir.claim(folder / "w", "a.py", {"seed": 0, "training": {"steps": 2}})
  return folder / "w" / "run.json", lambda: workdir.read(folder / "w")


def _metrics(folder):
  (folder / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
  return folder / "metrics.csv", lambda: read_csv(folder / "metrics.csv")


_FILES = {"npz": _npz, "npz, packed": _small_npz, "csv": _csv, "parquet": _parquet, "png": _image(".png"),
          "jpeg": _image(".jpg"), "gif": _image(".gif"), "tiff": _image(".tif"), "webp": _image(".webp"),
          "bmp": _image(".bmp"), "texts": _intents, "domains": _domains, "banking": _banking,
          "assays": _molecules("fs-mol-smiles.tar.xz"), "fingerprints": _molecules("fingerprints.npz"),
          "molecules": _molecules("smiles.txt.gz"), "run.json": _run, "metrics.csv": _metrics}


@pytest.fixture(scope="module", params=_FILES)
def whole(request, tmp_path_factory):
  """A file, its bytes, and a call that reads it."""
  path, read = _FILES[request.param](tmp_path_factory.mktemp("whole"))
  read()  # it is intact
  return path, path.read_bytes(), read


_places = st.floats(0, 1, exclude_max=True)


@_warned
@_many
@given(_places)
def test_a_file_cut_short(whole, place):
  path, good, read = whole
  path.write_bytes(good[:int(place * len(good))])
  answer(read)


@_warned
@_many
@given(st.lists(st.tuples(_places, st.integers(1, 255)), min_size=1, max_size=4))
def test_a_file_with_other_bytes(whole, changes):
  path, good, read = whole
  bad = bytearray(good)
  for place, change in changes:
    bad[int(place * len(bad))] ^= change
  path.write_bytes(bytes(bad))
  answer(read)


_foreign = st.one_of(st.binary(max_size=80), st.text(max_size=40).map(lambda words: words.encode("utf-8", "replace")),
                     st.sampled_from([b"", b"[" * 100_000, b"{}", b"[]", b"null", b"<html>", b"a,b\n1", b"\0" * 300,
                                      b"PK\x05\x06" + bytes(18), b'{"recipe": "a", "config": {"seed": NaN}}']))


@_warned
@_many
@given(_foreign)
def test_another_file_in_its_place(whole, contents):
  path, _, read = whole
  path.write_bytes(contents)
  answer(read)


class _Trap:
  """Its pickle creates a folder when loaded."""

  def __init__(self, place):
    self.place = place

  def __reduce__(self):
    return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("name", ["inputs", "targets", "names", "split"])
def test_a_pickle_is_not_opened(tmp_path, name):
  arrays = {"inputs": np.zeros((3, 1)), "targets": np.arange(3), "names": np.array(list("abc")),
            "split": np.array(["train", "val", "test"])}
  np.savez(tmp_path / "a.npz", **{**arrays, name: np.array([_Trap(tmp_path / "sprung")] * 3)}, allow_pickle=True)
  assert "allow_pickle" in refusal(lambda: npz.load(tmp_path / "a.npz", "train"))
  assert not (tmp_path / "sprung").exists()


def test_a_pickle_under_another_name_is_not_opened(tmp_path):
  (tmp_path / "a.npz").write_bytes(__import__("pickle").dumps(_Trap(tmp_path / "sprung")))
  assert "a.npz must be an .npz" in refusal(lambda: npz.load(tmp_path / "a.npz", "train"))
  assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("declared", [10**9, 10**13, 2**62, 2**70, -1])
def test_an_array_that_declares_more_than_there_is(tmp_path, declared):
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (declared,)})
  with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
    archive.writestr("inputs.npy", header.getvalue() + bytes(16))
    archive.writestr("targets.npy", header.getvalue() + bytes(16))
  assert "a.npz must be an .npz" in refusal(lambda: npz.load(tmp_path / "a.npz", "train"))


@pytest.mark.parametrize("size", [2**45, 2**62])
def test_a_bomb_is_not_unpacked(tmp_path, size):
  """A member that declares this size, like zeros compressed a thousandfold."""
  with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("inputs.npy", bytes(1000))
    archive.writestr("targets.npy", bytes(1000))
    for info in archive.filelist:
      info.file_size = size
  assert "more than this machine's memory" in refusal(lambda: npz.load(tmp_path / "a.npz", "train"))


def test_a_bomb_of_text_is_not_unpacked(tmp_path):
  path, read = _intents(tmp_path)
  with gzip.open(path, "wb", compresslevel=1) as file:
    for _ in range(250):
      file.write(bytes(1_000_000))
  assert "data_full.json" in refusal(read)


@_warned
@pytest.mark.parametrize("side", [8_000, 15_000])
def test_a_bomb_of_pixels_is_not_decoded(tmp_path, side):
  path, read = _image(".png")(tmp_path)
  Image.new("1", (side, side)).save(path)
  assert "a/0.png must be an image" in refusal(read)


_ELSEWHERE = ("../../escaped.png", "/escaped.png", "train/../../../escaped/a.png", "train\\..\\..\\escaped.png",
              "train/apple/../../../escaped.png")


@pytest.mark.parametrize("name", _ELSEWHERE)
def test_names_that_lead_elsewhere_lead_nowhere(tmp_path, name):
  folder = tmp_path / "data" / "cifar100"
  folder.mkdir(parents=True)
  for part in ("train", "test"):
    with zipfile.ZipFile(folder / f"cifar100_{part}_png.zip", "w") as archive:
      archive.writestr(name, b"escaped")
  before = sorted(tmp_path.rglob("*"))
  assert "must hold 500 images" in refusal(lambda: cifar100.load("train", data_dir=folder))
  assert sorted(tmp_path.rglob("*")) == before and not Path("/escaped.png").exists()


def test_a_class_whose_name_is_no_text(tmp_path):
  _image(".png")(tmp_path)
  shutil.move(tmp_path / "p" / "a", os.fsencode(tmp_path / "p") + b"/\xff\xfe")
  assert "is not UTF-8" in refusal(lambda: folders.load(tmp_path / "p", "train", image_size=4))


def test_an_image_whose_name_is_no_text_is_read(tmp_path):
  _, read = _image(".png")(tmp_path)
  shutil.move(tmp_path / "p" / "a" / "0.png", os.fsencode(tmp_path / "p" / "a") + b"/\xff.png")
  assert len(read().names) >= 2


@pytest.mark.parametrize("name", [b"\xff\xfe", b"runs/\xc3", b"a\0b"])
def test_a_workdir_whose_name_is_no_text(tmp_path, name):
  assert "workdir" in refusal(lambda: workdir.claim(tmp_path / os.fsdecode(name), "a.py", {}))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("contents", ["", "{", "[]", "null", "[" * 100_000, '{"x": 3}', "\xff"])
def test_what_was_tuned_and_is_damaged(tmp_path, monkeypatch, contents):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path))
  (tmp_path / "tuned.json").write_bytes(contents.encode("latin-1"))
  assert refusal(lambda: tuned.apply("a.py", object()))


def test_a_table_with_columns_of_every_kind(tmp_path):
  kinds = {"words": ["a"] * 18, "times": np.arange(18).astype("datetime64[s]"), "lists": [[1]] * 18,
           "none": [None] * 18, "bytes": [b"\xff"] * 18, "nan": [float("nan")] * 18}
  for name, values in kinds.items():
    parquet.write_table(pyarrow.table({**_ROWS, "x": values}), tmp_path / "a.parquet")
    assert "'x'" in refusal(lambda: tables.load(tmp_path / "a.parquet", group="g", target="y"))
