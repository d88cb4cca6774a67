"""Files metajax keeps on the user's disk: where the cache is, how a file gets there, and arrays kept between runs.

Whatever is written here appears at its place whole or not at all, so that a run that was killed, or two runs at once,
leave no file that only looks right.
"""

import contextlib
import hashlib
from http import client
import os
from pathlib import Path
import secrets
import tempfile
from typing import BinaryIO, Callable, Iterator, Mapping
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib

import numpy as np

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None  # type: ignore[assignment]

_CHUNK = 1 << 16
_ATTEMPTS = 5
_HTML = (b"<!doctype html", b"<html")
# All that numpy and zipfile raise for a file that is absent, cut short, overwritten, or not an npz at all; the last
# three where it declares an array that cannot be, or is one alone.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error,
              MemoryError, OverflowError, AttributeError)


class DownloadError(ValueError):
  """A file could not be fetched, or what came is not the file that was asked for."""


def cache_dir() -> Path:
  """Where metajax keeps files: `$METAJAX_CACHE_DIR`, else `$XDG_CACHE_HOME/metajax`, else `~/.cache/metajax`."""
  if own := os.environ.get("METAJAX_CACHE_DIR"):
    return Path(own).expanduser()
  shared = os.environ.get("XDG_CACHE_HOME")
  return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "metajax"


def download(url: str, path: Path | str, *, sha256: str, size: int, timeout: float = 20.0) -> None:
  """Fetches `url` to `path`, which changes only when all `size` bytes came and have the SHA-256 `sha256` (hex).

  `timeout` is in seconds and holds for each wait on the network, not for the whole file. A connection that breaks is
  taken up where it broke, a few times. At most `size + 1` bytes are kept, so that an endless answer cannot fill the
  disk.

  Raises:
    DownloadError: the address is not http(s), the server cannot be reached or refuses, the file cannot be written, or
      the body is not the one expected.
  """
  path = Path(path)
  try:
    if not url.startswith(("https://", "http://")):
      raise _Unexpected("an address that is neither http nor https")
    with replacing(path) as file:
      _fetch(url, file, size, timeout)
      _check(file, sha256=sha256, size=size)
  except (OSError, client.HTTPException, ValueError) as error:
    reason = _reason(error)
    raise DownloadError(
        f"Could not download {url}: expected {size} bytes with SHA-256 {sha256}, got {reason}; check the network and "
        f"its proxy, or fetch that file by other means and put it at {path}.") from error


def cached_arrays(path: Path, keys: tuple[str, ...],
                  build: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
  """The arrays `keys` of the npz at `path`, or what `build` returns, written there for the next time.

  A file that cannot be read is built anew, by one process while others wait for it. One that cannot be written costs
  time at the next run, so it warns.
  """
  try:
    return _stored(path, keys)
  except UNREADABLE:
    pass
  with exclusive(path):
    try:
      return _stored(path, keys)  # built by another process while this one waited
    except UNREADABLE:
      return _built(path, keys, build)


def check_fits(size: int) -> None:
  """Raises ValueError if so many bytes, as a packed file declares to hold, are more than this machine's memory."""
  memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else size
  if size > memory:
    raise ValueError(f"it declares {size} bytes when unpacked, more than this machine's memory of {memory}")


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
  """A block that one process of this user and machine at a time runs for the same `path`; the others wait.

  Where there are no such locks (Windows) all run at once, which costs time but breaks nothing.
  """
  if fcntl is None:
    yield
    return
  folder = Path(tempfile.gettempdir()) / f"metajax-locks-{os.getuid()}"
  folder.mkdir(mode=0o700, exist_ok=True)
  # Apart from what it guards, which is left as it is found. The kernel lets go of it when a process dies.
  with open(folder / hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32], "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _stored(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
  # Opened here because numpy leaves a file open when it turns out to be no zip.
  with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
    return {key: stored[key] for key in keys}


def _built(path: Path, keys: tuple[str, ...], build: Callable[[], Mapping[str, np.ndarray]]
           ) -> Mapping[str, np.ndarray]:
  arrays = build()
  try:
    with replacing(path) as partial:
      np.savez_compressed(partial, allow_pickle=False, **{key: arrays[key] for key in keys})
  except OSError as error:
    warnings.warn(f"Could not write the cache {path} ({error}), so the next run will build it again; set "
                  "METAJAX_CACHE_DIR to a folder that can be written.", stacklevel=2)
  return arrays


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
  """A file to write, which becomes `path` when the block ends well and is removed when it does not."""
  path.parent.mkdir(parents=True, exist_ok=True)
  # Beside its target, as a rename is atomic only within one file system; not by tempfile, which hides the result from
  # everyone else who shares the cache.
  partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
  try:
    with open(partial, "x+b") as file:
      yield file
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
  if isinstance(error, _Unexpected):
    return str(error)
  if isinstance(error, urllib.error.HTTPError):
    error.close()  # it is the response itself, with its socket
    return f"the HTTP status {error.code} ({error.reason})"
  return f'the error "{getattr(error, "reason", None) or error or type(error).__name__}"'


class _Unexpected(ValueError):
  """What came instead, as the end of a sentence that begins with "got"."""


def _fetch(url: str, file: BinaryIO, size: int, timeout: float) -> None:
  """Writes the body to `file`, at most `size + 1` bytes, asking again for the rest as long as more of it comes."""
  for attempt in range(_ATTEMPTS):
    before = file.tell()
    try:
      _stream(url, file, size, timeout)
    except (OSError, client.HTTPException):
      if file.tell() == before or attempt == _ATTEMPTS - 1:
        raise
    if file.tell() >= size or file.tell() == before:
      return


def _stream(url: str, file: BinaryIO, size: int, timeout: float) -> None:
  """Appends one answer to what is in `file`, or puts it in its place where the server begins anew."""
  have = file.tell()
  headers = {"User-Agent": "metajax", **({"Range": f"bytes={have}-"} if have else {})}
  with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
    if have and not (response.status == 206 and (response.headers["Content-Range"] or "").startswith(f"bytes {have}-")):
      file.seek(0)
      file.truncate()
    while chunk := response.read(min(_CHUNK, size + 1 - file.tell())):
      file.write(chunk)


def _check(file: BinaryIO, *, sha256: str, size: int) -> None:
  count = file.tell()
  file.seek(0)
  found = hashlib.sha256()
  while chunk := file.read(_CHUNK):
    found.update(chunk)
  if count == size and (digest := found.hexdigest()) == sha256.lower():
    return
  file.seek(0)
  if file.read(100).lstrip().lower().startswith(_HTML):
    raise _Unexpected("an HTML page")
  if count != size:
    raise _Unexpected(f"more than {size} bytes" if count > size else f"only {count} bytes")
  raise _Unexpected(f"as many bytes with SHA-256 {digest}")
