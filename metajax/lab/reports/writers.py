"""Metrics on disk: `metrics.csv` and TensorBoard events, which survive crashes and resumes.

A resumed run leaves the same rows as an uninterrupted run: rows after the checkpoint are dropped on opening, because
they will be computed again. Flush a writer before saving a checkpoint, so that no row up to the checkpoint can be
missing from disk.
"""

from contextlib import ExitStack
import os
from pathlib import Path
import re
import socket
import time
from typing import Mapping, Protocol, Sequence

import numpy as np
from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

_FLUSH_SECONDS = 10.0
_STEP = re.compile(r"[0-9]{1,18}")


class Writer(Protocol):
  """Writes the metrics of a run. `write` takes scalars, finite or not, by name; `close` may be called repeatedly."""

  def write(self, step: int, values: Mapping[str, float]) -> None:
    ...

  def flush(self) -> None:
    ...

  def close(self) -> None:
    ...


class CsvWriter:
  """A CSV file with one row per step: `step`, then all metrics in order of first appearance, empty where not measured.

  Floats are written in the shortest form that reads back exactly, so identical runs write identical files.
  """

  def __init__(self, path: str | os.PathLike[str], resume_step: int | None) -> None:
    """Opens `path`, creating its folder if necessary; keeps the rows up to `resume_step`, or none if that is None.

    An incomplete last line, left by a crash, is dropped too. Raises ValueError if the file has another format.
    """
    self._path = Path(path)
    self._path.parent.mkdir(parents=True, exist_ok=True)
    names, rows = ([], []) if resume_step is None or not self._path.exists() else _read_rows(self._path)
    kept = [row for row in rows if resume_step is not None and int(row["step"]) <= resume_step]
    # A column that appears only in dropped rows is dropped too: an uninterrupted run would not have it yet.
    self._names = [name for name in names if any(row[name] for row in kept)]
    self._last = kept[-1] if kept else None
    self._file = self._rewritten(kept)

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends a row, or adds to the last row if it has the same step.

    Raises ValueError for a step before the last one, and for a name that a CSV header cannot hold.
    """
    row = {"step": str(int(step)), **{name: repr(float(value)) for name, value in values.items()}}
    unseen = [name for name in values if name not in self._names]
    for name in unseen:
      if name in ("", "step") or any(character in name for character in ',"\r\n'):
        raise ValueError(f"{name!r} cannot name a column of {self._path}.")
    if self._last is not None and int(step) < int(self._last["step"]):
      raise ValueError(f'step {step} comes after step {self._last["step"]} in {self._path}; steps must not go back.')

    repeated = self._last is not None and self._last["step"] == row["step"]
    if repeated or unseen:
      self._file.close()
      rows = _read_rows(self._path)[1]
      if repeated:
        row = {**rows.pop(), **row}
      self._names += unseen
      self._file = self._rewritten([*rows, row])
    else:
      self._file.write(_line([row.get(name, "") for name in ("step", *self._names)]))
    self._last = row

  def flush(self) -> None:
    if not self._file.closed:
      self._file.flush()
      os.fsync(self._file.fileno())

  def close(self) -> None:
    self.flush()
    self._file.close()

  def _rewritten(self, rows: Sequence[Mapping[str, str]]):
    """Replaces the file atomically by one with these rows, and opens it for appending."""
    columns = ["step", *self._names]
    partial = self._path.with_name(self._path.name + ".tmp")
    with open(partial, "w", encoding="utf-8", newline="") as file:
      file.writelines(_line([row.get(name, "") for name in columns]) for row in ({c: c for c in columns}, *rows))
      file.flush()
      os.fsync(file.fileno())
    os.replace(partial, self._path)
    return open(self._path, "a", encoding="utf-8", newline="", buffering=1)  # whole lines, for concurrent readers


class TensorBoardWriter:
  """Scalars as TensorBoard events, one event per step, in a new file in `folder` each time it is opened.

  Records are not written with tensorboardX's SummaryWriter: its `flush` leaves events in a queue, so that a crash may
  lose steps before the checkpoint, and two of its files opened within one second overwrite each other.
  """

  def __init__(self, folder: str | os.PathLike[str], resume_step: int | None) -> None:
    """Hides from TensorBoard all earlier events of steps after `resume_step`, or of all steps if that is None."""
    os.makedirs(folder, exist_ok=True)
    count = len(list(Path(folder).glob("events.out.tfevents.*")))
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{count:04d}"
    self._records: RecordWriter | None = RecordWriter(os.path.join(folder, name))
    self._flushed = -np.inf
    self._add(Event(file_version="brain.Event:2"))
    first = 0 if resume_step is None else resume_step + 1
    self._add(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

  def write(self, step: int, values: Mapping[str, float]) -> None:
    scalars = [Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
    self._add(Event(step=int(step), summary=Summary(value=scalars)))
    if time.monotonic() - self._flushed > _FLUSH_SECONDS:
      self.flush()

  def flush(self) -> None:
    if self._records is not None:
      self._records.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    if self._records is not None:
      self.flush()
      self._records.close()
      self._records = None

  def _add(self, event: Event) -> None:
    if self._records is None:
      raise ValueError("the TensorBoard writer is closed.")
    event.wall_time = time.time()
    self._records.write(event.SerializeToString())


class _Combined:

  def __init__(self, writers: Sequence[Writer]) -> None:
    self._writers = writers

  def write(self, step: int, values: Mapping[str, float]) -> None:
    for writer in self._writers:
      writer.write(step, values)

  def flush(self) -> None:
    for writer in self._writers:
      writer.flush()

  def close(self) -> None:
    with ExitStack() as stack:  # all are closed even if one fails
      for writer in self._writers:
        stack.callback(writer.close)


def combine(*writers: Writer) -> Writer:
  """A writer that forwards everything to each of `writers`, in order."""
  return _Combined(writers)


def read_csv(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The columns of a file of `CsvWriter`, even while it is being written: `step` [rows] int64, the others float64.

  NaN where nothing was measured. Raises FileNotFoundError, or ValueError if the file has another format.
  """
  names, rows = _read_rows(Path(path))
  columns = {name: np.array([float(row[name] or "nan") for row in rows], np.float64) for name in names}
  return {"step": np.array([int(row["step"]) for row in rows], np.int64), **columns}


def _line(cells: Sequence[str]) -> str:
  return ",".join(cells) + "\n"


def _is_number(cell: str) -> bool:
  """Whether a cell is empty (not measured) or holds a number."""
  try:
    return not cell or float(cell) is not None
  except ValueError:
    return False


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
  """The metric names and the complete lines of the file; text after the last line end is an incomplete line."""
  lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]
  if not lines:
    return [], []
  columns = lines[0].split(",")
  cells = [line.split(",") for line in lines[1:]]
  if columns[0] != "step" or not all(len(row) == len(columns) and _STEP.fullmatch(row[0]) and all(map(_is_number, row))
                                     for row in cells):
    raise ValueError(f'{path} is not a metrics file: it must have a first column "step" and rows of numbers as long as '
                     "its header; restore it from a copy, or remove it.")
  return columns[1:], [dict(zip(columns, row)) for row in cells]
