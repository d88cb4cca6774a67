"""Metrics on disk after a crash, a resume and a late column."""

import itertools
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from metajax.lab.reports.writers import CsvWriter, TensorBoardWriter, combine, read_csv


def _metrics(step):
  values = {"loss": 1 / step, "d_in": np.float32(0.1) * step}
  return {**values, "val_accuracy": step / 7} if step % 3 == 0 else values


def _run(path, resume_step, steps):
  writer = CsvWriter(path, resume_step)
  for step in steps:
    writer.write(step, _metrics(step))
  writer.close()


def test_csv_has_one_exact_row_a_step(tmp_path):
  path = tmp_path / "new" / "metrics.csv"
  writer = CsvWriter(path, None)
  writer.write(1, {"loss": 0.1, "d_in": float("nan")})
  writer.write(2, {"loss": 1 / 3})
  writer.close()
  writer.close()
  assert path.read_bytes() == b"step,loss,d_in\n1,0.1,nan\n2,0.3333333333333333,\n"
  columns = read_csv(path)
  assert list(columns) == ["step", "loss", "d_in"]
  assert columns["step"].dtype == np.int64
  np.testing.assert_array_equal(columns["step"], [1, 2])
  np.testing.assert_array_equal(columns["loss"], [0.1, 1 / 3])
  np.testing.assert_array_equal(columns["d_in"], [np.nan, np.nan])


def test_csv_rows_are_on_disk_as_they_are_written(tmp_path):
  writer = CsvWriter(tmp_path / "metrics.csv", None)
  for step in (1, 2, 3):
    writer.write(step, {"loss": step})
    np.testing.assert_array_equal(read_csv(tmp_path / "metrics.csv")["step"], range(1, step + 1))
  writer.close()


def test_csv_takes_a_late_column_and_keeps_all_else(tmp_path):
  path = tmp_path / "metrics.csv"
  _run(path, None, range(1, 7))
  columns = read_csv(path)
  np.testing.assert_array_equal(columns["loss"], [1 / step for step in range(1, 7)])
  np.testing.assert_array_equal(columns["val_accuracy"], [np.nan, np.nan, 3 / 7, np.nan, np.nan, 6 / 7])
  assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_csv_joins_what_is_written_of_one_step(tmp_path):
  path = tmp_path / "metrics.csv"
  writer = CsvWriter(path, None)
  writer.write(1, {"loss": 1})
  writer.write(2, {"loss": 2})
  writer.write(2, {"val_loss": 3})
  writer.write(2, {"loss": 4})
  writer.close()
  assert path.read_bytes() == b"step,loss,val_loss\n1,1.0,\n2,4.0,3.0\n"


@pytest.mark.parametrize("reached", [4, 5, 6, 8])
@pytest.mark.parametrize("torn", [b"", b"9", b"9,0.1", b"9,0.125,0.9,0.0"])
@pytest.mark.parametrize("checkpoint", [1, 2, 3, 4])
def test_csv_of_a_resumed_run_equals_that_of_an_unbroken_one(tmp_path, checkpoint, torn, reached):
  _run(tmp_path / "unbroken.csv", None, range(1, 10))
  path = tmp_path / "broken.csv"
  _run(path, None, range(1, reached + 1))
  with open(path, "ab") as file:
    file.write(torn)
  _run(path, checkpoint, range(checkpoint + 1, 10))
  assert path.read_bytes() == (tmp_path / "unbroken.csv").read_bytes()


def test_csv_drops_a_torn_line_even_of_a_step_before_the_checkpoint(tmp_path):
  path = tmp_path / "metrics.csv"
  path.write_bytes(b"step,loss\n1,0.5\n2,0.25")
  np.testing.assert_array_equal(read_csv(path)["step"], [1])
  _run(path, 2, [])
  assert path.read_bytes() == b"step,loss\n1,0.5\n"


def test_csv_drops_a_column_with_its_last_row(tmp_path):
  path = tmp_path / "metrics.csv"
  path.write_bytes(b"step,loss,val_loss\n1,0.5,\n2,0.25,0.125\n")
  _run(path, 1, [])
  assert path.read_bytes() == b"step,loss\n1,0.5\n"


def test_csv_starts_anew_without_a_checkpoint(tmp_path):
  path = tmp_path / "metrics.csv"
  path.write_bytes(b"anything")
  _run(path, None, [1])
  np.testing.assert_array_equal(read_csv(path)["step"], [1])


def test_csv_refuses_what_it_cannot_hold(tmp_path):
  writer = CsvWriter(tmp_path / "metrics.csv", None)
  writer.write(5, {"loss": 1})
  before = (tmp_path / "metrics.csv").read_bytes()
  with pytest.raises(ValueError, match="must not go back"):
    writer.write(4, {"loss": 1})
  for name in ("a,b", "step", "", "a\nb", '"'):
    with pytest.raises(ValueError, match="cannot name a column"):
      writer.write(6, {name: 1})
  writer.close()
  assert (tmp_path / "metrics.csv").read_bytes() == before
  for content in (b"time,loss\n1,2\n", b"step,loss\n1\n", b"step,loss\n\n"):
    (tmp_path / "other.csv").write_bytes(content)
    with pytest.raises(ValueError, match="not a metrics file"):
      CsvWriter(tmp_path / "other.csv", 3)
  with pytest.raises(FileNotFoundError):
    read_csv(tmp_path / "none.csv")


def _events(path):
  """The events of a TFRecord file: length, its checksum, data, its checksum."""
  content, events = path.read_bytes(), []
  while content:
    size, = struct.unpack("<Q", content[:8])
    events.append(Event.FromString(content[12:12 + size]))
    assert len(content) >= size + 16
    content = content[size + 16:]
  return events


def test_tensorboard_events_read_back(tmp_path):
  writer = TensorBoardWriter(tmp_path / "run", None)
  writer.write(3, {"loss": 0.25, "d_in": 2.0})
  writer.write(4, {"loss": float("inf")})
  writer.flush()
  file, = (tmp_path / "run").iterdir()
  events = _events(file)  # before the writer is closed: a flush must reach the disk
  writer.close()
  writer.close()
  assert events[0].file_version == "brain.Event:2"
  scalars = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
  assert scalars == [(3, "loss", 0.25), (3, "d_in", 2.0), (4, "loss", float("inf"))]
  assert all(event.wall_time > 1e9 for event in events)
  with pytest.raises(ValueError, match="closed"):
    writer.write(5, {})


def test_tensorboard_purges_what_will_be_computed_again(tmp_path):
  for resume_step in (None, 7, 7):  # within one second: each must get a file of its own
    writer = TensorBoardWriter(tmp_path, resume_step)
    writer.write(8, {"loss": 1})
    writer.close()
  files = sorted(tmp_path.iterdir())
  starts = [event.step for file in files for event in _events(file) if event.session_log.status == SessionLog.START]
  assert starts == [0, 8, 8]


def test_combined_writers_all_get_everything(tmp_path):
  calls = []

  class Spy:

    def __init__(self, name):
      self.name = name

    def write(self, step, values):
      calls.append((self.name, "write", step, values))

    def flush(self):
      calls.append((self.name, "flush"))

    def close(self):
      calls.append((self.name, "close"))
      raise OSError("disk full")

  writer = combine(Spy("a"), Spy("b"))
  writer.write(1, {"loss": 2})
  writer.flush()
  with pytest.raises(OSError):
    writer.close()
  assert {call[:2] for call in calls} == set(itertools.product("ab", ("write", "flush", "close")))
  assert [call[2:] for call in calls if call[1] == "write"] == [(1, {"loss": 2})] * 2
