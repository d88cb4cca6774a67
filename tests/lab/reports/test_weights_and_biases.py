"""Weights & Biases, offline: its file holds what was written, a resumed run keeps its id, and it is optional."""

import ast
import json
import struct
import sys
import time

import pytest

from metajax.lab.reports import weights_and_biases
from tests.test_import_law import SOURCES


@pytest.fixture
def offline(monkeypatch, tmp_path):
  """The package, restricted to a folder."""
  wandb = pytest.importorskip("wandb", reason='Weights & Biases goes UNTESTED: pip install "metajax[wandb]".')
  for name, value in (("MODE", "offline"), ("SILENT", "true"), ("CONFIG_DIR", str(tmp_path / "config")),
                      ("CACHE_DIR", str(tmp_path / "cache")), ("DATA_DIR", str(tmp_path / "data"))):
    monkeypatch.setenv(f"WANDB_{name}", value)
  return wandb


def _records(path):
  """Yields the records of a file of wandb, a log as LevelDB writes it: seven bytes, then checksum, size, kind, data."""
  content, place, data = path.read_bytes(), 7, b""
  while place + 7 < len(content):
    _, size, kind = struct.unpack_from("<IHB", content, place)
    place += 7 + size
    if place > len(content):  # still being written
      return
    data = (data if kind in (3, 4) else b"") + content[place - size:place]  # 1: whole; 2, 3, 4: first, further, last
    if kind in (1, 4):
      yield data
    if (left := -place % 32768) < 7:  # no header fits into the rest of a block
      place += left


def _rows(path):
  """Returns the metrics in a file of wandb, and the id, name, project and settings of the run."""
  from wandb.proto.wandb_internal_pb2 import Record
  rows, about, records = [], None, []
  for _ in range(200):  # another process writes it, and may be at it when the run has ended
    records = [Record.FromString(data) for data in _records(path)]
    if records and records[-1].HasField("exit"):
      break
    time.sleep(0.1)
  for record in records:
    if record.WhichOneof("record_type") == "history":
      values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
      rows.append((record.history.step.num, {name: value for name, value in values.items() if name[0] != "_"}))
    elif record.WhichOneof("record_type") == "run":
      run = record.run
      about = run.run_id, run.display_name, run.project, {
        item.key: json.loads(item.value_json) for item in run.config.update if item.key[0] != "_"}
  return rows, about


@pytest.mark.filterwarnings("ignore")  # warnings of wandb itself
def test_metrics_are_in_the_file_of_a_resumed_run(offline, tmp_path):
  workdir = tmp_path / "my run"
  workdir.mkdir()
  opened = weights_and_biases.opener(workdir, "project", {"seed": 3, "training": {"steps": 9}})
  ids = []
  for first in (1, 3):
    writer = opened(first - 1)
    writer.write(first, {"loss": 0.5, "val_loss": float("inf")})
    writer.write(first + 1, {"loss": 0.25})
    writer.flush()
    writer.close()
    file = max(workdir.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    rows, (run_id, *about) = _rows(file)
    assert rows == [(first, {"loss": 0.5, "val_loss": float("inf")}), (first + 1, {"loss": 0.25})]
    assert about == ["my run", "project", {"seed": 3, "training": {"steps": 9}}]
    ids.append(run_id)
  assert ids[0] == ids[1] and not [path for path in tmp_path.iterdir() if path.name not in (
    "my run", "config", "cache", "data")]


def test_a_missing_package_is_reported(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
  with pytest.raises(ValueError, match=r'needs the package wandb.*pip install "metajax\[wandb\]"'):
    weights_and_biases.opener(tmp_path, "project", {})


def test_a_project_has_a_name(offline, tmp_path):
  with pytest.raises(ValueError, match="name of a project"):
    weights_and_biases.opener(tmp_path, "", {})


def test_the_package_is_imported_only_if_used():
  for name, text in SOURCES.items():
    top = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not any("wandb" in ast.unparse(node) for node in top), name
