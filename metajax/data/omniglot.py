"""Omniglot (Lake et al., 2015), read from its two official zips: 1,623 hand-written characters, 20 drawers each.

The split into 1028/172/423 classes is that of Vinyals et al. (2016); `splits/omniglot_vinyals.json` lists its `val` and
`test` characters by alphabet, and all others are `train`. When split by alphabet, as by Lake et al., the 20 evaluation
alphabets are `test`; every sixth of the 30 background alphabets is `val` (our choice), the others are `train`.
Rotated copies as additional classes are an augmentation (`class_tasks(rotations=True)`).
"""

import hashlib
from importlib import resources
import io
import json
from pathlib import Path
import re
from typing import Mapping, Sequence
import zipfile
import zlib

from PIL import Image, ImageChops
import numpy as np

from metajax.data import download as download_lib
from metajax.data import staged
from metajax.tasks.class_data import ClassData

SPLITS = ("train", "val", "test")

_DRAWERS = 20
_SIDE = 105
_CLASSES = {"images_background.zip": 964, "images_evaluation.zip": 659}
_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
# Size and SHA-256 of the official files, from the checksum table of tensorflow-datasets 4.9.10.
_OFFICIAL = {
    "images_background.zip": (9464212, "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640"),
    "images_evaluation.zip": (6462886, "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee"),
}
_MEMBER = re.compile(r"[^/]+/(?P<name>[^/]+/character\d\d)/(?P<id>\d{4})_(?P<drawer>\d\d)\.png")
_MAX_MEMBER_BYTES = 100_000  # the largest drawing has 486; a file near this limit is not Omniglot
_FORMAT = 1  # version of the cached arrays; increase it whenever decoding changes
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
               Image.DecompressionBombError)


def load(split: str, *, image_size: int = 28, data_dir: Path | str | None = None, download: bool = True,
         by_alphabet: bool = False) -> ClassData:
  """The classes of `split` ('train', 'val' or 'test'), sorted by character number, 20 drawings each.

  Args:
    image_size: the side that the drawings of 105 pixels are resized to, with a Lanczos filter.
    data_dir: the folder with the two zips, directly, in its sub-folder `omniglot` or in `omniglot/python`; if given, no
      other folder is tried. By default: `$METAJAX_DATA_DIR`, then the user's cache, then the official download into it.
    download: whether downloading is allowed.
    by_alphabet: split by alphabet, as Lake et al., instead of as Vinyals et al.

  Returns:
    `examples` [20 * classes, image_size, image_size, 1] uint8 with ink 255 and paper 0; `names`
    'Alphabet/characterNN', `groups` the alphabets.

  Raises:
    FileNotFoundError: if the zips are in none of these folders and cannot be downloaded.
    ValueError: for an unknown split, an image size outside [1, 105], or a zip that is damaged or is not Omniglot.
  """
  if split not in SPLITS:
    raise ValueError(f'The split of Omniglot must be one of {", ".join(SPLITS)}, not {split!r}.')
  if type(image_size) is not int or not 1 <= image_size <= _SIDE:
    raise ValueError(f"image_size must be an integer from 1 to {_SIDE}, the size of the drawings, not {image_size!r}.")
  folder = _find(data_dir, download)
  sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _CLASSES}
  key = hashlib.sha256(":".join([str(_FORMAT), *sums.values()]).encode()).hexdigest()[:16]
  arrays = download_lib.cached_arrays(
      download_lib.cache_dir() / f"omniglot-{image_size}-{key}.npz", ("images", "names"),
      lambda: _decode_all([folder / name for name in _CLASSES], list(_CLASSES.values()), image_size))
  names = arrays["names"].tolist()
  held_out = _alphabets(names) if by_alphabet else _held_out(names)
  chosen = [number for number, name in enumerate(names) if held_out.get(name, "train") == split]
  official = all(sums[name] == digest for name, (_, digest) in _OFFICIAL.items())
  return ClassData(
      examples=arrays["images"][chosen].reshape(-1, image_size, image_size, 1),
      counts=np.full(len(chosen), _DRAWERS, np.int32),
      names=tuple(names[number] for number in chosen),
      source=f'Omniglot, the {split} {"alphabets" if by_alphabet else "classes of Vinyals et al. (2016)"}, from the '
             f'{"official" if official else "re-packed"} zips.',
      groups=tuple(names[number].split("/")[0] for number in chosen))


def places(data_dir: Path | str | None, files: Sequence[str]) -> list[Path]:
  """The folders to search for Omniglot's files: the given one, or `$METAJAX_DATA_DIR` and the user's cache."""
  found = staged.folders(data_dir, ("omniglot/python", "omniglot", ""), files)
  # If the caller names a folder, files elsewhere must not be used.
  return found if data_dir else [*found, download_lib.cache_dir() / "omniglot"]


def _find(data_dir: Path | str | None, download: bool) -> Path:
  """The first folder that holds both zips; the last is the cache, filled by download."""
  cache = download_lib.cache_dir() / "omniglot"
  folders = places(data_dir, list(_CLASSES))
  for folder in folders:
    if all((folder / name).is_file() for name in _CLASSES):
      return folder
  refused = None
  if not data_dir and download:
    try:
      for name, (size, sha256) in _OFFICIAL.items():
        if not (cache / name).is_file():
          download_lib.download(_URL + name, cache / name, sha256=sha256, size=size)
      return cache
    except download_lib.DownloadError as error:
      refused = error
  raise FileNotFoundError(
      f'Expected the Omniglot zips {" and ".join(_CLASSES)} and found no pair of them in '
      f'{", ".join(map(str, folders))}; set METAJAX_DATA_DIR to a folder that holds both'
      + (f", or fix the download: {refused}" if refused else ", or allow the download.")) from refused


def _alphabets(names: Sequence[str]) -> Mapping[str, str]:
  """The split of each class that is not in train, by alphabet; background characters have the lower numbers."""
  background = names[:_CLASSES["images_background.zip"]]
  chosen = sorted({name.split("/")[0] for name in background})[5::6]
  return ({name: "val" for name in background if name.split("/")[0] in chosen}
          | {name: "test" for name in names[len(background):]})


def _held_out(names: Sequence[str]) -> Mapping[str, str]:
  """The split of each class that is not in train, checked against the classes that were read."""
  listed = json.loads((resources.files("metajax.data") / "splits" / "omniglot_vinyals.json").read_text("utf-8"))
  held_out = {f"{alphabet}/character{number:02d}": split
              for alphabet, splits in listed.items() for split, numbers in splits.items() for number in numbers}
  if missing := sorted(held_out.keys() - set(names)):
    raise ValueError(f"The Omniglot zips must hold every class of the split of Vinyals et al. (2016), but lack "
                     f"{len(missing)} of them, {missing[0]} first; download the official zips.")
  return held_out


def _decode_all(paths: Sequence[Path], classes: Sequence[int], image_size: int) -> dict[str, np.ndarray]:
  """Images [classes, drawers, image_size, image_size] and names [classes] of all zips, sorted by character number."""
  found: dict[int, tuple[str, np.ndarray]] = {}
  for path, expected in zip(paths, classes, strict=True):
    part = _decode_zip(path, expected, image_size)
    if twice := sorted(found.keys() & part.keys()):
      raise ValueError(f"{path} must not hold the characters of {paths[0]}, but has number {twice[0]} as well; "
                       "download the official zips.")
    found |= part
  numbers = sorted(found)
  return {"images": np.stack([found[number][1] for number in numbers]),
          "names": np.array([found[number][0] for number in numbers])}


def _decode_zip(path: Path, classes: int, image_size: int) -> dict[int, tuple[str, np.ndarray]]:
  """The name and images [drawers, image_size, image_size] of each character number in the zip."""
  member = ""
  try:
    with zipfile.ZipFile(path) as archive:
      index = _index(archive, path, classes)
      found = {}
      for number, (name, members) in index.items():
        images = []
        for member in members:
          images.append(decode(archive.read(member), image_size))
        found[number] = name, np.stack(images)
      return found
  except _Layout:
    raise
  except _UNREADABLE as error:
    raise ValueError(f'{path} must be a zip of the Omniglot drawings, but {member or "its table of contents"} cannot '
                     f"be read ({error}); download the official file again.") from error


class _Layout(ValueError):
  """The zip can be read but has unexpected contents."""


def _index(archive: zipfile.ZipFile, path: Path, classes: int) -> dict[int, tuple[str, list[str]]]:
  """The name and the members, by drawer, of each character; nothing is unpacked until all have been found."""
  found: dict[int, tuple[str, list[str]]] = {}
  for info in sorted(archive.infolist(), key=lambda info: info.filename):
    match = _MEMBER.fullmatch(info.filename)
    if not match:
      continue
    if info.file_size > _MAX_MEMBER_BYTES:
      raise _Layout(f"{path} must hold drawings of at most {_MAX_MEMBER_BYTES} bytes, but {info.filename} declares "
                    f"{info.file_size}; download the official file.")
    name, members = found.setdefault(int(match["id"]), (match["name"], []))
    if name != match["name"] or int(match["drawer"]) != len(members) + 1:
      raise _Layout(f"{path} must hold each character once, with drawers 01 to {_DRAWERS}, but {info.filename} does "
                    "not continue that row; download the official file.")
    members.append(info.filename)
  drawings = sum(len(members) for _, members in found.values())
  if len(found) != classes or any(len(members) != _DRAWERS for _, members in found.values()):
    raise _Layout(f"{path} must hold {classes} characters by {_DRAWERS} drawers each, but has {len(found)} characters "
                  f"and {drawings} drawings; download the official file.")
  return found


def decode(png: bytes, image_size: int) -> np.ndarray:
  """One drawing, [image_size, image_size] uint8, ink 255.

  Raises ValueError, or an error of Pillow, if it is not a drawing of Omniglot.
  """
  with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
    # Checked before decoding, because a small file can declare far too many pixels.
    if image.size != (_SIDE, _SIDE):
      raise ValueError(f"it has {image.size[0]} x {image.size[1]} pixels instead of {_SIDE} x {_SIDE}")
    # Converted to grey first: Pillow resizes two-level images by nearest neighbour, whatever the filter.
    grey = ImageChops.invert(image.convert("L"))
  return np.asarray(grey.resize((image_size, image_size), Image.Resampling.LANCZOS))
