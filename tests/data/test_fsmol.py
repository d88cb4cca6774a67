"""The reader of FS-Mol on miniature files that the tests write, and on the real ones if available."""

import gzip
import io
import json
import tarfile

import jax
import numpy as np
import pytest

from metajax.data import fsmol
from metajax.tasks.groups import at_least, group_tasks

MOLECULES = ["C", "CC", "CCO", "N", "c1ccccc1"]
PRINTS = [{3: 1}, {3: 2, 2047: 1}, {}, {0: 5, 7: 1, 9: 255}, {100: 1}]
TASKS = {"train": {"A1": [("CC", 1), ("C", 0), ("N", 1)], "A2": [("CCO", 0)]}, "valid": {"V1": [("C", 1)]},
         "test": {"T2": [("N", 0), ("c1ccccc1", 1)], "T1": [("N", 1)]}}


@pytest.fixture(autouse=True)
def _cache(request, tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))


def write(folder, broken=""):
  folder.mkdir(exist_ok=True)
  with gzip.open(folder / "smiles.txt.gz", "wt") as file:
    file.write("".join(f"{smiles}\n" for smiles in MOLECULES))
  np.savez(folder / "fingerprints.npz", indices=np.asarray([place for each in PRINTS for place in each], np.uint16),
           counts=np.asarray([count for each in PRINTS for count in each.values()], np.uint8),
           indptr=np.cumsum([0, *map(len, PRINTS)]).astype(np.uint32))
  with tarfile.open(folder / "fs-mol-smiles.tar.xz", "w:xz") as archive:
    for part, tasks in TASKS.items():
      for name, rows in tasks.items():
        lines = [json.dumps({"SMILES": smiles, "Property": f"{active}.0"}) for smiles, active in rows]
        contents = ("\n".join(lines) if name != broken else '{"SMILES": "XX"}').encode()
        info = tarfile.TarInfo(f"fs-mol/{part}/{name}.jsonl")
        info.size = len(contents)
        archive.addfile(info, io.BytesIO(contents))
  return folder


def test_assays_become_groups_of_fingerprints(tmp_path):
  data = fsmol.load("train", data_dir=write(tmp_path / "fsmol"))
  assert data.names == ("A1", "A2") and data.counts.tolist() == [3, 1] and data.targets.tolist() == [1, 0, 1, 0]
  dense = np.asarray(fsmol.dense(data.inputs))
  for row, molecule in zip(dense, [1, 0, 3, 2], strict=True):
    expected = np.zeros(2048)
    for place, count in PRINTS[molecule].items():
      expected[place] = np.log1p(count)
    np.testing.assert_allclose(row, expected, rtol=1e-6)
  test = fsmol.load("test", data_dir=tmp_path)
  assert test.names == ("T1", "T2") and test.targets.tolist() == [1, 0, 1] and "test assays" in test.source
  assert fsmol.load("val", data_dir=tmp_path).names == ("V1",)


def test_an_episode_is_drawn(tmp_path):
  data = at_least(fsmol.load("train", data_dir=write(tmp_path / "fsmol")), 2)
  tasks = group_tasks(data, shots=1, queries=4, stratified=True, prepare=fsmol.dense)
  support, query = jax.jit(tasks.sample)(tasks.data, jax.random.key(0))
  assert support.inputs.shape == (1, 2048) and query.inputs.shape == (2, 2048) and query.mask.all()


def test_what_is_broken_is_named(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match="train/A2.jsonl cannot be read .*XX"):
    fsmol.load("train", data_dir=write(tmp_path / "a", broken="A2"))
  folder = write(tmp_path / "b")
  monkeypatch.setattr(fsmol, "_MAX_TASK_BYTES", 10)
  with pytest.raises(ValueError, match="declares"):
    fsmol.load("train", data_dir=folder)
  (folder / "fs-mol-smiles.tar.xz").write_bytes(b"<html>")
  with pytest.raises(ValueError, match="one of its files cannot be read"):
    fsmol.load("train", data_dir=folder)
  (folder / "smiles.txt.gz").write_bytes(gzip.compress(b"C\n"))
  with pytest.raises(ValueError, match="does not describe the 1 molecules"):
    fsmol.load("train", data_dir=folder)
  monkeypatch.delenv("METAJAX_DATA_DIR", raising=False)
  with pytest.raises(FileNotFoundError, match="Expected FS-Mol as .*; set METAJAX_DATA_DIR"):
    fsmol.load("train")


def test_the_real_assays(data_dir):
  if not (data_dir / "fsmol").is_dir():
    pytest.skip(f"{data_dir} has no fsmol: tests on real FS-Mol are SKIPPED")
  data = fsmol.load("test", data_dir=data_dir)
  assert len(data.names) == 157 and len(data.targets) == 56_220 and set(data.targets.tolist()) == {0, 1}
  assert 0.2 < data.targets.mean() < 0.8
