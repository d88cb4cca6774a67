"""CIFAR-100 for few-shot learning: CIFAR-FS and FC100, 600 images of 32 x 32 pixels in each class.

CIFAR-FS (Bertinetto et al., 2019, https://arxiv.org/abs/1805.08136) has 64 / 16 / 20 classes drawn at random; FC100
(Oreshkin et al., 2018, https://arxiv.org/abs/1805.10123) 60 / 20 / 20 of 12 / 4 / 4 super-classes, so that training
and test classes share no super-class. Both use all 60,000 images of Krizhevsky, 2009. Read from the official binary
archive, which holds no pickle, or from two zips of `{train,test}/<class>/<image>.png`.
"""

import hashlib
from importlib import resources
import io
import json
from pathlib import Path
import re
import tarfile
from typing import Mapping, Sequence
import zipfile
import zlib

from PIL import Image
import numpy as np

from metajax.data import download as download_lib
from metajax.data import staged
from metajax.tasks.class_data import ClassData, check_disjoint, check_split

PROTOCOLS = ("cifar-fs", "fc100")

_SIDE = 32
_PER_CLASS = {"train": 500, "test": 100}  # images of a class in each part
_ZIPS = {"train": "cifar100_train_png.zip", "test": "cifar100_test_png.zip"}
_ARCHIVE = "cifar-100-binary.tar.gz"
_URL = f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}"
# Size and SHA-256 of the official file, from the checksum table of tensorflow-datasets 4.9.10.
_OFFICIAL = (168513733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec")
_MEMBER = re.compile(r"(?P<part>train|test)/(?P<name>[a-z_]+)/[^/]+\.png")
_MAX_MEMBER_BYTES = 20_000  # a PNG of 32 x 32 pixels has less than 4,000
_FORMAT = 1  # version of the cached arrays; increase it whenever decoding changes
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error,
               tarfile.TarError, Image.DecompressionBombError)


def load(split: str, *, protocol: str = "cifar-fs", data_dir: Path | str | None = None, download: bool = True
         ) -> ClassData:
  """Returns the classes of `split` (train, val or test), sorted by name, 600 images each.

  Args:
    split: train, val or test.
    protocol: cifar-fs or fc100.
    data_dir: the folder with the archive or the two zips, directly or in its sub-folder `cifar100`; if given, no other
      folder is tried. By default: `$METAJAX_DATA_DIR`, then the user's cache, then the official download into it.
    download: whether downloading is allowed.

  Returns:
    `examples [600 * classes, 32, 32, 3]` uint8; `names` such as 'aquatic_mammals/whale'; `groups` are super-classes.

  Raises:
    FileNotFoundError: if the data is in none of these folders and cannot be downloaded.
    ValueError: for an unknown split or protocol, or a file that is damaged or is not CIFAR-100.
  """
  check_split(split)
  names = class_split(protocol)[split]
  files = _find(data_dir, download)
  sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
  key = hashlib.sha256(repr((_FORMAT, protocol, split, sums)).encode()).hexdigest()[:16]
  wanted = [name.split("/")[1] for name in names]
  read = _read_archive if len(files) == 1 else _read_zips
  arrays = download_lib.cached_arrays(download_lib.cache_dir() / f"{protocol}-{split}-{key}.npz", ("images",),
                                      lambda: {"images": read(files, wanted)})
  title = {"cifar-fs": "CIFAR-FS (Bertinetto et al., 2019)", "fc100": "FC100 (Oreshkin et al., 2018)"}[protocol]
  return ClassData(
      examples=arrays["images"].reshape(-1, _SIDE, _SIDE, 3),
      counts=np.full(len(names), sum(_PER_CLASS.values()), np.int32), names=tuple(names),
      source=f"{title}, the {split} classes, from the "
             f"{'official archive' if sums == [_OFFICIAL[1]] else 'PNG zips' if len(files) == 2 else 'archive'}.",
      groups=tuple(name.split("/")[0] for name in names))


def class_split(protocol: str) -> Mapping[str, Sequence[str]]:
  """Returns the classes of train, val and test, as 'super-class/class', sorted.

  Raises:
    ValueError: for an unknown protocol.
  """
  if protocol not in PROTOCOLS:
    raise ValueError(f"CIFAR-100 is split as {' or '.join(PROTOCOLS)}, not as {protocol!r}; give one of these.")
  table = lambda name: json.loads((resources.files("metajax.data") / "splits" / name).read_text("utf-8"))
  drawn = table("cifar_fs.json")
  names = {split: sorted(f"{group}/{name}" for group, members in groups.items() for name in members)
           for split, groups in drawn.items()}
  if protocol == "fc100":
    everything = [name for split in names.values() for name in split]
    names = {split: sorted(name for name in everything if name.split("/")[0] in groups)
             for split, groups in table("fc100.json").items()}
  check_disjoint(names, protocol)
  return names


def _find(data_dir: Path | str | None, download: bool) -> list[Path]:
  """The archive, or the two zips, in the first folder that has either; the last is the cache, filled by download."""
  cache = download_lib.cache_dir() / "cifar100"
  folders = staged.folders(data_dir, ("cifar100", ""), (_ARCHIVE, *_ZIPS.values()))
  if not data_dir:
    folders.append(cache)
  for folder in folders:
    for names in ([_ARCHIVE], list(_ZIPS.values())):
      if all((folder / name).is_file() for name in names):
        return [folder / name for name in names]
  refused = None
  if not data_dir and download:
    try:
      size, sha256 = _OFFICIAL
      download_lib.download(_URL, cache / _ARCHIVE, sha256=sha256, size=size)
      return [cache / _ARCHIVE]
    except download_lib.DownloadError as error:
      refused = error
  raise FileNotFoundError(
      f"Expected CIFAR-100 as {_ARCHIVE} or as {' and '.join(_ZIPS.values())} and found neither in "
      f"{', '.join(map(str, folders))}; set METAJAX_DATA_DIR to a folder that holds one"
      + (f", or fix the download: {refused}" if refused else ", or allow the download.")) from refused


def _read_zips(paths: Sequence[Path], classes: Sequence[str]) -> np.ndarray:
  """Images [classes, 600, 32, 32, 3], those of the train part first, each part by file name."""
  parts = []
  for path, (part, per_class) in zip(paths, _PER_CLASS.items(), strict=True):
    member = ""
    try:
      with zipfile.ZipFile(path) as archive:
        members = _index(archive, path, part, per_class, classes)
        images = []
        for name in classes:
          for member in members[name]:
            images.append(_decode(archive.read(member)))
    except _Layout:
      raise
    except _UNREADABLE as error:
      raise ValueError(f"{path} must be a zip of CIFAR-100's images, but {member or 'its table of contents'} cannot be "
                       f"read ({error}); download it again.") from error
    parts.append(np.stack(images).reshape(len(classes), per_class, _SIDE, _SIDE, 3))
  return np.concatenate(parts, axis=1)


def _decode(png: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
    # Checked before decoding, because a small file can declare far too many pixels.
    if image.size != (_SIDE, _SIDE):
      raise ValueError(f"it has {image.size[0]} x {image.size[1]} pixels instead of {_SIDE} x {_SIDE}")
    return np.asarray(image.convert("RGB"))


class _Layout(ValueError):
  """The file can be read but has unexpected contents."""


def _index(archive: zipfile.ZipFile, path: Path, part: str, per_class: int, classes: Sequence[str]
           ) -> dict[str, list[str]]:
  """The members of each class, by name; nothing is unpacked until all have been found."""
  found: dict[str, list[str]] = {}
  for info in sorted(archive.infolist(), key=lambda info: info.filename):
    match = _MEMBER.fullmatch(info.filename)
    if not match or match["part"] != part or match["name"] not in classes:
      continue
    if info.file_size > _MAX_MEMBER_BYTES:
      raise _Layout(f"{path} must hold images of at most {_MAX_MEMBER_BYTES} bytes, but {info.filename} declares "
                    f"{info.file_size}; download it again.")
    found.setdefault(match["name"], []).append(info.filename)
  for name in classes:
    if len(found.get(name, ())) != per_class:
      raise _Layout(f"{path} must hold {per_class} images {part}/{name}/<image>.png, but holds "
                    f"{len(found.get(name, ()))}; download it again.")
  return found


def _read_archive(paths: Sequence[Path], classes: Sequence[str]) -> np.ndarray:
  """The same from the official binary archive, whose rows are bytes: super-class, class, and 3 x 32 x 32 pixels."""
  path, = paths
  row = 2 + 3 * _SIDE * _SIDE
  parts = []
  try:
    with tarfile.open(path, "r:gz") as archive:

      def contents(name: str, expected: int | None = None) -> bytes:
        member = archive.getmember(f"cifar-100-binary/{name}")  # nothing is unpacked to disk
        if not member.isfile() or member.size > 1_000_000 and member.size != expected:
          raise ValueError(f"{name} has {member.size} bytes")
        file = archive.extractfile(member)
        return file.read() if file else b""

      names = contents("fine_label_names.txt").decode().split()
      for part, per_class in _PER_CLASS.items():
        rows = np.frombuffer(contents(f"{part}.bin", len(names) * per_class * row), np.uint8).reshape(-1, row)
        images = [rows[rows[:, 1] == names.index(name), 2:] for name in classes]
        if any(len(each) != per_class for each in images):
          raise ValueError(f"{part}.bin does not hold {per_class} images of each class")
        parts.append(np.stack(images).reshape(-1, per_class, 3, _SIDE, _SIDE))
  except _UNREADABLE as error:
    raise ValueError(f"{path} must be the official binary archive of CIFAR-100, but cannot be read ({error}); download "
                     "it again.") from error
  return np.ascontiguousarray(np.concatenate(parts, axis=1).transpose(0, 1, 3, 4, 2))
