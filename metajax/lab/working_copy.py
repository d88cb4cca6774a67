"""Workdirs in a bucket: commands work in a local copy, and update the bucket after each checkpoint and at the end.

An object is replaced whole, but a bucket cannot rename a folder. So the file that Orbax writes last into a checkpoint
is copied last and removed first: a checkpoint without it is incomplete and is ignored. Metrics are copied before the
checkpoints that follow them. A new workdir has a marker until its `run.json` is there; if a command is interrupted
before that, everything beside the marker is ignored.
"""

from contextlib import contextmanager
from pathlib import Path
import re
import shutil
import sys
import tempfile
import threading
import time
from typing import Iterable, Iterator, NamedTuple

from metajax.bucket import Bucket, in_bucket, opened
from metajax.lab.checkpoints import Unsaved
from metajax.training.hosts import is_writer, wait

_CHECKPOINT = re.compile(r"(?:.*/)?checkpoints/\d+/")
_LAST = "_CHECKPOINT_METADATA"  # of a checkpoint
_RUN = "run.json"
_MARKER = "run.json.partial"  # a name that a claim of the workdir ignores, too
_TEMPORARY = re.compile(r"\.partial$|\.tmp$|\.orbax-checkpoint-tmp")
_LOOK_SECONDS = 0.5  # between two looks for a new checkpoint
_UPDATE_SECONDS = 30.0  # between two updates without one; each replaces the metrics
_ATTEMPTS = 3  # to fetch, and at the last update


class Workdir(NamedTuple):
  """Where a command works."""
  folder: Path  # local
  name: str  # as the user named it, for messages
  shared: bool  # whether all processes of the run see the same folder

  def named(self, text: str) -> str:
    """Returns a message in which the local folder is called as the user named it."""
    return text.replace(str(self.folder), self.name)


@contextmanager
def working_copy(workdir: Path | str, *, writes: bool = True, beside: bool = False) -> Iterator[Workdir]:
  """Gives a local folder with the content of a workdir, and keeps the workdir up to date if it is in a bucket.

  Every process of a run has a copy of its own; only the writer's is copied to the bucket.

  Args:
    workdir: a folder, which is given itself, or an address such as `gs://bucket/run1`.
    writes: whether the bucket is to be updated.
    beside: whether another command may be training in the workdir, so that what looks incomplete is left alone.

  Raises:
    ValueError: if the bucket cannot be read or written, or the package for it is missing.
    metajax.lab.checkpoints.Unsaved: if the last update fails; the local copy is kept and named.
  """
  if not in_bucket(workdir):
    yield Workdir(Path(workdir), str(workdir), shared=True)
    return
  address = str(workdir).rstrip("/")
  parent = Path(tempfile.mkdtemp(prefix="metajax-"))
  given = Workdir(parent / address.rpartition("/")[2], address, shared=False)
  copy = _Copy(opened(address), given.folder, beside)
  try:
    try:
      copy.fetch()
      if writes and is_writer():
        copy.check_writable()
    except Exception as error:  # of many types, from the network and the packages of each kind of bucket
      raise ValueError(f"workdir {address} cannot be read and written ({_reason(error)}); check that the bucket exists "
                       "and that this machine has the credentials for it.") from error
    if not writes:
      yield given
      return
    wait("the workdir is copied from its bucket")  # before the writer changes it
    with _updated(copy, address):
      yield given
  except Exception as error:
    error.args = tuple(given.named(word) if isinstance(word, str) and not copy.behind else word for word in error.args)
    raise
  finally:
    if not copy.behind:
      shutil.rmtree(parent, ignore_errors=True)


@contextmanager
def _updated(copy: "_Copy", address: str) -> Iterator[None]:
  """Updates the bucket in a thread during the block, and once more after it."""
  if not is_writer():
    yield
    return
  over = threading.Event()

  def update():
    failed, updated = False, time.monotonic()
    while not over.wait(_LOOK_SECONDS):
      if not copy.has_new_checkpoint() and time.monotonic() - updated < _UPDATE_SECONDS:
        continue
      updated = time.monotonic()
      try:
        copy.update()
        failed = False
      except Exception as error:  # of many types, as above; the next update tries again
        if not failed:
          print(f"{address} could not be updated ({_reason(error)}); trying again.", file=sys.stderr)
        failed = True
        over.wait(_UPDATE_SECONDS)

  thread = threading.Thread(target=update, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()
    for attempt in range(_ATTEMPTS):
      try:
        copy.update()
        break
      except Exception as error:
        if attempt == _ATTEMPTS - 1:
          copy.behind = True
          raise Unsaved(f"{address} could not be updated ({_reason(error)}); nothing is lost: {copy.folder} has "
                        "everything. Check the bucket and its credentials, and copy this folder there.") from error


class _Copy:
  """A folder of a bucket, its local copy, and what is known to be equal in both."""

  def __init__(self, bucket: Bucket, folder: Path, beside: bool = False):
    self.folder = folder
    self.behind = False  # whether the bucket lacks something that is here
    self._bucket, self._beside = bucket, beside
    self._equal: dict[str, tuple[int, int]] = {}  # the state of each file when it was last equal to its object
    self._incomplete: set[str] = set()  # objects of interrupted commands, to be removed
    self._new = False  # whether there was nothing in the bucket

  def fetch(self) -> None:
    """Copies the bucket's folder here, without what is incomplete."""
    for attempt in range(_ATTEMPTS):
      try:
        return self._fetch()
      except FileNotFoundError:  # a run that goes on may have removed an old checkpoint meanwhile
        if attempt == _ATTEMPTS - 1:
          raise
        shutil.rmtree(self.folder)

  def _fetch(self) -> None:
    there = set(self._bucket.objects())
    self._new = _RUN not in there and (not there or _MARKER in there)
    torn = incomplete(there)
    wanted = set() if self._new else {path for path in there - {_MARKER} if _checkpoint(path) not in torn}
    self._incomplete = set() if self._beside else there - wanted
    self.folder.mkdir(parents=True)
    self._bucket.get(sorted(wanted), self.folder)
    self._equal = {path: state for path, state in _states(self.folder).items() if path in wanted}

  def check_writable(self) -> None:
    """Writes and removes an object."""
    self._bucket.write(".writable", b"")
    self._bucket.remove([".writable"])

  def has_new_checkpoint(self) -> bool:
    """Returns whether there is a complete checkpoint that the bucket lacks."""
    return any(path.endswith("/" + _LAST) and self._equal.get(path) != state
               for path, state in _states(self.folder).items())

  def update(self) -> None:
    """Makes the bucket's folder equal to the local one, except for objects that are not of this command."""
    files = _states(self.folder)
    changed = {path: state for path, state in files.items() if self._equal.get(path) != state}
    removed = set(self._equal) - set(files)
    if self._new and changed:
      self._bucket.write(_MARKER, b"")
      self._incomplete |= {_MARKER}
    self._bucket.remove(self._incomplete - {_MARKER})
    self._incomplete &= {_MARKER}
    self._put({path: state for path, state in changed.items() if not _checkpoint(path) and path != _RUN})
    for top in sorted({_checkpoint(path) for path in changed} - {""}):
      self._put_checkpoint(top, {path: state for path, state in changed.items() if _checkpoint(path) == top})
    self._put({path: state for path, state in changed.items() if path == _RUN})
    self._bucket.remove(self._incomplete)
    self._incomplete, self._new = set(), self._new and not changed
    lasts = {path for path in removed if path.endswith("/" + _LAST)}
    for paths in (lasts, removed - lasts):
      self._bucket.remove(paths)
      self._equal = {path: state for path, state in self._equal.items() if path not in paths}

  def _put_checkpoint(self, top: str, files: dict[str, tuple[int, int]]) -> None:
    last = top + _LAST
    if last in self._equal:  # another checkpoint of the same step
      self._bucket.remove([last])
      del self._equal[last]
    try:
      self._put({path: state for path, state in files.items() if path != last})
      self._put({last: files[last]})
    except (FileNotFoundError, KeyError):  # Orbax has just removed it, or is about to
      self._bucket.remove(path for path in self._bucket.objects() if path.startswith(top))
      self._equal = {path: state for path, state in self._equal.items() if not path.startswith(top)}

  def _put(self, files: dict[str, tuple[int, int]]) -> None:
    self._bucket.put(self.folder, sorted(files))
    self._equal |= files


def incomplete(objects: Iterable[str]) -> set[str]:
  """Returns the folders, with a slash, of the incomplete checkpoints among the objects of a workdir."""
  objects = set(objects)
  return {top for path in objects if (top := _checkpoint(path)) and top + _LAST not in objects}


def _checkpoint(path: str) -> str:
  """Returns the folder, with a slash, of the checkpoint that a file is part of, or ''."""
  found = _CHECKPOINT.match(path)
  return found[0] if found else ""


def _states(folder: Path) -> dict[str, tuple[int, int]]:
  """Returns the size and the time of change of all files below a folder, except for temporary ones."""
  states = {}
  for path in folder.rglob("*"):
    name = path.relative_to(folder).as_posix()
    try:
      if path.is_file() and not _TEMPORARY.search(name):
        about = path.stat()
        states[name] = about.st_size, about.st_mtime_ns
    except FileNotFoundError:  # removed meanwhile
      continue
  return states


def _reason(error: Exception) -> str:
  return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
