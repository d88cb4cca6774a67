"""The user's cache: where it is, downloads into it, and arrays cached between runs.

Files are written atomically, so that an interrupted run, or two concurrent runs, never leave an incomplete file.
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
# Everything that numpy and zipfile raise for a file that is missing, truncated, overwritten, or not an npz; the last
# three are raised if it declares an impossible array, or is a single array.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error,
              MemoryError, OverflowError, AttributeError)


class DownloadError(ValueError):
  """A file could not be downloaded, or the download is not the expected file."""


def cache_dir() -> Path:
  """The folder of the cache: `$METAJAX_CACHE_DIR`, else `$XDG_CACHE_HOME/metajax`, else `~/.cache/metajax`.

  A user without a home, as in some containers, has one among the temporary files.
  """
  if own := os.environ.get("METAJAX_CACHE_DIR"):
    return Path(own).expanduser()
  shared = os.environ.get("XDG_CACHE_HOME")
  if shared:
    return Path(shared).expanduser() / "metajax"
  try:
    return Path.home() / ".cache" / "metajax"
  except RuntimeError:
    return Path(tempfile.gettempdir()) / f"metajax-cache-{os.getuid()}"


def download(url: str, path: Path | str, *, sha256: str, size: int, timeout: float = 20.0) -> None:
  """Downloads `url` to `path`, which changes only if all `size` bytes arrive and have the SHA-256 `sha256` (hex).

  `timeout` is in seconds, for each wait on the network instead of the whole file. Broken connections are resumed a few
  times. At most `size + 1` bytes are kept, so that an endless response cannot fill the disk.

  Raises:
    DownloadError: if the address is not http(s), the server cannot be reached or refuses, the file cannot be written,
      or the response is not the expected file.
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
        f"its proxy, or get the file by other means and put it at {path}.") from error


def cached_arrays(path: Path, keys: tuple[str, ...],
                  build: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
  """The arrays `keys` of the npz at `path` or, if it cannot be read, of `build`, whose result is cached there.

  One process builds the file while others wait for it. If it cannot be written, a warning says that the next run will
  build it again.
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
  """Raises ValueError if `size`, the unpacked size that a file declares, is more than this machine's memory."""
  memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else size
  if size > memory:
    raise ValueError(f"it declares {size} bytes when unpacked, more than this machine's memory of {memory}")


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
  """A lock for `path` among the processes of this user on this machine: one runs the block, the others wait.

  Without file locks (on Windows) all run at once, which costs time but is still correct.
  """
  if fcntl is None:
    yield
    return
  folder = Path(tempfile.gettempdir()) / f"metajax-locks-{os.getuid()}"
  folder.mkdir(mode=0o700, exist_ok=True)
  # The lock file is kept separate from `path`. The kernel releases the lock when a process dies.
  with open(folder / hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32], "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _stored(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
  # Opened here because numpy leaves a file open if it is not a zip.
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
                  "METAJAX_CACHE_DIR to a writable folder.", stacklevel=2)
  return arrays


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
  """A file to write, which replaces `path` if the block succeeds and is removed otherwise."""
  path.parent.mkdir(parents=True, exist_ok=True)
  # In the same folder, because a rename is atomic only within one file system. Not made by tempfile, whose permissions
  # would hide the result from other users of the cache.
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
    error.close()  # the error is also the response, with its socket
    return f"the HTTP status {error.code} ({error.reason})"
  return f'the error "{getattr(error, "reason", None) or error or type(error).__name__}"'


class _Unexpected(ValueError):
  """What was received instead; completes a sentence that begins with "got"."""


def _fetch(url: str, file: BinaryIO, size: int, timeout: float) -> None:
  """Writes the response to `file`, at most `size + 1` bytes, and resumes as long as every attempt brings more."""
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
  """Appends one response to `file`, or overwrites it if the server starts from the beginning."""
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
  raise _Unexpected(f"that size with SHA-256 {digest}")
