"""Data in a bucket: copies of them in the user's cache, which are renewed when the content has changed."""

import hashlib
import os
from pathlib import Path
import shutil
from typing import Iterable, Sequence

from metajax.bucket import Bucket, Object, in_bucket, opened
from metajax.data.download import cache_dir, exclusive


def local(place: str) -> str:
  """Returns a local path with the content of a file or folder, which is copied from its bucket if it is in one.

  Raises:
    FileNotFoundError: if nothing is there.
    ValueError: as `opened`.
  """
  if not in_bucket(place):
    return place
  bucket = opened(place)
  objects = bucket.objects()
  if not objects:
    raise FileNotFoundError(f"expected data at {place}, but there is nothing.")
  return str(_copied(place, bucket, objects))


def folders(root: Path | str | None, below: Sequence[str], names: Iterable[str]) -> list[Path]:
  """Returns the folders below a root in which files are searched for, as local ones; none if there is no root.

  Args:
    root: a folder or an address in a bucket; by default `$METAJAX_DATA_DIR`.
    below: the sub-folders, in the order of the search; '' for the root itself.
    names: the files, which are all that is copied from a bucket.
  """
  root = str(root or os.environ.get("METAJAX_DATA_DIR") or "")
  if not root:
    return []
  if in_bucket(root):
    bucket, wanted = opened(root), {f"{folder}/{name}".lstrip("/") for folder in below for name in names}
    objects = {path: about for path, about in bucket.objects().items() if path in wanted}
    root = str(_copied(root, bucket, objects))
  return [Path(root).expanduser() / folder for folder in below]


def _copied(place: str, bucket: Bucket, objects: dict[str, Object]) -> Path:
  of_place, of_content = (hashlib.sha256(repr(what).encode()).hexdigest()[:16]
                          for what in (place, sorted(objects.items())))
  name = place.rstrip("/").rpartition("/")[2]  # error messages and the names of data sets show it
  target = cache_dir() / "buckets" / of_place / of_content / name
  with exclusive(target):
    if not target.exists():
      partial = target.with_name(f"{name}.{os.getpid()}.partial")
      shutil.rmtree(partial, ignore_errors=True)
      partial.mkdir(parents=True)
      if list(objects) == [""]:  # an object rather than a folder
        bucket.files.get(bucket.root, str(partial / name))
        (partial / name).replace(target)
        partial.rmdir()
      else:
        bucket.get(objects, partial)
        partial.replace(target)
  return target
