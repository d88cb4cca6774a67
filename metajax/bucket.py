"""Files in a bucket: `gs://`, `s3://`, or any other address that fsspec opens.

Addresses, credentials and endpoints are fsspec's: gcsfs and s3fs find them as gcloud and the AWS command line do.
"""

import logging
from pathlib import Path
import re
from typing import Any, Iterable, NamedTuple


class Object(NamedTuple):
  """An object of a bucket."""
  size: int  # bytes
  version: str  # changes when the content does


class Bucket(NamedTuple):
  """A folder of a bucket, or one object: its file system and its path there."""
  files: Any
  root: str

  def objects(self) -> dict[str, Object]:
    """Returns the objects by their path below the root; a root that is an object itself has the path ''."""
    found = self.files.find(self.root, detail=True)
    return {path[len(self.root):].strip("/"): Object(int(about["size"] or 0), _version(about))
            for path, about in found.items() if about["type"] == "file" and not path.endswith("/")}

  def at(self, path: str) -> str:
    """Returns the path in the file system of an object below the root."""
    return f"{self.root}/{path}" if path else self.root

  def get(self, paths: Iterable[str], folder: Path) -> None:
    """Copies objects into a local folder, in parallel."""
    paths = list(paths)
    targets = [folder / path for path in paths]
    for parent in {target.parent for target in targets}:
      parent.mkdir(parents=True, exist_ok=True)
    if paths:
      self.files.get([self.at(path) for path in paths], [str(target) for target in targets])

  def put(self, folder: Path, paths: Iterable[str]) -> None:
    """Copies files of a local folder here, in parallel; each replaces an object whole or not at all."""
    paths = list(paths)
    if paths:
      self.files.put([str(folder / path) for path in paths], [self.at(path) for path in paths])

  def write(self, path: str, content: bytes) -> None:
    """Writes an object."""
    self.files.pipe_file(self.at(path), content)

  def remove(self, paths: Iterable[str]) -> None:
    """Removes objects."""
    paths = list(paths)
    if paths:
      self.files.rm([self.at(path) for path in paths])


def in_bucket(place: Path | str) -> bool:
  """Returns whether a place is an address such as `gs://bucket/folder`, and not a local path."""
  return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(place)) is not None


def opened(address: str) -> Bucket:
  """Returns the bucket folder at an address.

  Raises:
    ValueError: if fsspec does not know the kind of address, or the package for it is missing.
  """
  kind = address.partition("://")[0]
  try:
    import fsspec
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # otherwise stack traces, and a warning at each access
    files, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
  except ImportError as error:
    raise ValueError(f"{address} needs a package that is not installed ({error}); "
                     "pip install 'metajax[buckets]'.") from error
  except ValueError as error:
    raise ValueError(f"{address} cannot be opened: {kind}:// is not known; give gs://<bucket>/<folder>, "
                     "s3://<bucket>/<folder>, or a folder.") from error
  return Bucket(files, root.rstrip("/"))


def _version(about: dict[str, Any]) -> str:
  known = (about.get(name) for name in ("generation", "etag", "ETag", "LastModified", "mtime", "created"))
  return str(next((value for value in known if value), ""))
