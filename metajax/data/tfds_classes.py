"""Classes of images or vectors from any tensorflow-datasets builder, read without TensorFlow; and writing such data.

Data prepared as array_record is read with the same result whether or not TensorFlow is installed: images are decoded by
Pillow. `store` writes the result of any reader in this format, which tfds can read without a builder's code.
"""

import functools
import hashlib
import io
from pathlib import Path
from typing import Any, Iterator, Mapping

from PIL import Image
import numpy as np

from metajax.data import download as download_lib
from metajax.data.folders import decode
from metajax.data.pixels import check_pixels, in_unit_range, stacked
from metajax.data.tfds_files import find, scan, write
from metajax.tasks.class_data import SPLITS, ClassData, check_disjoint, check_split, split_classes

_FORMAT = 4  # version of the cached arrays; increase it whenever decoding changes


def load(name: str, split: str, *, image_size: int = 84, data_dir: Path | str | None = None,
         shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> ClassData:
  """Returns the classes of one split of a data set that was prepared as array_record.

  If the data set has the splits train, val and test without a common class, as data sets of `store` do, they are kept.
  Otherwise all its splits are merged, and the classes are split at random with a fixed seed. Examples of a class are
  sorted by the feature `rank` if there is one, otherwise by a checksum, because the order of the files is arbitrary.
  For PNGs, the checksum is that of the pixels, because TensorFlow and Pillow encode one image as different bytes.
  Examples without a label, which tfds gives the label -1, are left out; `source` notes how many.

  Args:
    name: as in `find`: `caltech_birds2011`, `visual_domain_decathlon/aircraft`, `vgg_face2:1.0.0`.
    split: train, val or test.
    image_size: the side of the squares that images are cropped and resized to; vectors are not changed.
    data_dir: the data folder of tfds; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
    shares, seed: how classes are split, as in `split_classes`.

  Raises:
    FileNotFoundError: if the data set has not been prepared there.
    ValueError: if it is not in array_record, or has no features `label` and `image` or `inputs`, or a label is neither
      a whole number nor a word, or an image cannot be decoded.
  """
  check_split(split)
  builder = find(name, data_dir)
  features = builder.info.features
  if features is None or "label" not in features or not {"image", "inputs"} & set(features):
    raise ValueError(f"the tfds data set {name} must have the features label and image, or label and inputs, but has "
                     f"{', '.join(features or ())}.")
  # tfds gives no digest of the prepared data, so the cache key is made of its name, version, sizes and path.
  facts = {part: (info.num_examples, info.num_bytes) for part, info in builder.info.splits.items()}
  key = hashlib.sha256(repr((_FORMAT, builder.info.full_name, str(builder.data_path), sorted(facts.items()),
                             image_size)).encode()).hexdigest()[:16]
  keys = ("examples", "labels", "parts", "names", "groups", "unlabelled")
  arrays = download_lib.cached_arrays(download_lib.cache_dir() / f"tfds-{image_size}-{key}.npz", keys,
                                      lambda: _read(builder, sorted(facts), image_size))
  labels, parts, unlabelled = arrays["labels"], arrays["parts"], dict(zip(sorted(facts), arrays["unlabelled"].tolist()))
  names = getattr(features["label"], "names", None) or dict(zip(np.unique(labels).tolist(), arrays["names"].tolist()))
  groups = dict(zip(np.unique(labels).tolist(), arrays["groups"].tolist()))
  by_part = {part: np.unique(labels[parts == number]).tolist() for number, part in enumerate(sorted(facts))}
  all_labels = [label for part in by_part.values() for label in part]
  source = f"tensorflow-datasets {builder.info.full_name}, the {split} classes"
  if set(by_part) == set(SPLITS) and all(by_part.values()) and len(all_labels) == len(set(all_labels)):
    rows = parts == sorted(facts).index(split)
    return _data(arrays["examples"][rows], labels[rows], names, groups, f"{source}.{_left_out(unlabelled[split])}")
  everything = _data(arrays["examples"], labels, names, groups,
                     f"{source} of a fixed draw (seed {seed}).{_left_out(sum(unlabelled.values()))}")
  return split_classes(everything, split, shares=shares, seed=seed, fewest=2)


def store(name: str, splits: Mapping[str, ClassData], data_dir: Path | str) -> Path:
  """Writes labelled images or vectors as a tfds data set in array_record, and returns its folder.

  Its features are `image` (PNG) or `inputs`, `label` (numbered across splits), `name` and `group` of the class, and
  `rank` within the class. TensorFlow is not needed; `load(name, split, data_dir=data_dir)` reads the splits back.

  Args:
    name: the name of the data set: letters, digits and underscores.
    splits: by name, such as train, val and test; `examples` of one size, images `[n, H, W, 1 or 3]` uint8, or
      vectors `[n, features]` uint8 or float32.
    data_dir: the data folder of tfds.

  Raises:
    ValueError: if there is no split, examples have another type or differ in size, or a class is in two splits.
  """
  import tensorflow_datasets as tfds  # optional, and slow to import
  check_disjoint({split: data.names for split, data in splits.items()}, name)
  kinds = {(data.examples.shape[1:], data.examples.dtype.name) for data in splits.values()}
  shape, dtype = next(iter(kinds), ((), ""))
  images = len(shape) == 3 and shape[-1] in (1, 3) and dtype == "uint8"
  if len(kinds) != 1 or not images and len(shape) != 1:
    raise ValueError("a tfds data set is stored from splits of uint8 images [n, H, W, 1 or 3] or of vectors "
                     f"[n, features], of one size and type, but got {sorted(kinds)}.")
  encoded = ({"image": tfds.features.Image(shape=shape, encoding_format="png")} if images else
             {"inputs": tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype), encoding="zlib")})
  first = dict(zip(splits, np.cumsum([0, *(len(data.names) for data in splits.values())]).tolist()))

  def examples(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    data, row = splits[split], 0
    for label, (class_name, count) in enumerate(zip(data.names, data.counts.tolist())):
      for rank in range(count):
        yield f"{label}/{rank}", {
            "image" if images else "inputs": _png(data.examples[row]) if images else data.examples[row],
            "label": first[split] + label, "rank": rank, "name": class_name,
            "group": data.groups[label] if data.groups else ""}
        row += 1

  return write(name, {split: functools.partial(examples, split) for split in splits},
               {**encoded, "label": np.int64, "rank": np.int64, "name": tfds.features.Text(),
                "group": tfds.features.Text()}, " ".join(data.source for data in splits.values()), data_dir)


def _read(builder: Any, parts: list[str], image_size: int) -> dict[str, np.ndarray]:
  """Examples [n, ...], labels [n] and the indices of their splits [n], sorted; names and groups of the classes; and the
  number of examples without a label in each split."""
  features = builder.info.features
  rows: list[tuple[Any, int, Any, Any]] = []
  name_and_group: dict[Any, tuple[str, str]] = {}
  unlabelled = [0] * len(parts)
  image = features["image"] if "image" in features else None
  for number, part in enumerate(parts):
    for row in scan(builder, part):
      data, label = row["inputs" if image is None else "image"], _label(row["label"], builder.info.full_name)
      if label in (-1, ""):
        unlabelled[number] += 1
        continue
      try:
        order = int(row["rank"]) if "rank" in row else _checksum(bytes(data))
        example = data if image is None else decode(io.BytesIO(data), image_size, image.shape[-1] == 1)
      except (OSError, ValueError, SyntaxError, EOFError, RuntimeError, Image.DecompressionBombError) as error:
        raise ValueError(f"{builder.info.full_name} must hold images, but one of label {label} in {part} cannot be "
                         f"decoded ({error}).") from error
      rows.append((label, number, order, example))
      name_and_group[label] = (row["name"].decode() if "name" in row else str(label),
                               row["group"].decode() if "group" in row else "")
  if not rows:
    raise ValueError(f"the tfds data set {builder.info.full_name} must have labelled examples, but all "
                     f"{sum(unlabelled)} are without a label (-1).")
  rows.sort(key=lambda row: row[:3])
  labels = sorted(name_and_group)
  number_of = {label: label if isinstance(label, int) else index for index, label in enumerate(labels)}  # of words
  examples = [row[3] for row in rows]
  return {"examples": np.stack(examples) if image is None else in_unit_range(stacked(examples)),
          "labels": np.asarray([number_of[row[0]] for row in rows]), "parts": np.asarray([row[1] for row in rows]),
          "names": np.asarray([name_and_group[label][0] for label in labels]),
          "groups": np.asarray([name_and_group[label][1] for label in labels]), "unlabelled": np.asarray(unlabelled)}


def _label(value: Any, name: str) -> int | str:
  """A label as a whole number or a word."""
  if isinstance(value, (bytes, str)):
    return value.decode() if isinstance(value, bytes) else value
  if np.ndim(value) or np.asarray(value).dtype.kind not in "iub":
    kind = "a list" if np.ndim(value) else f"{np.asarray(value).dtype}"
    raise ValueError(f"the feature label of the tfds data set {name} must be a class, a whole number or a word, but "
                     f"one is {kind}, {str(value)[:40]}; store the data with one class for each example.")
  return int(value)


def _left_out(count: int) -> str:
  return f" {count} examples without a label are left out." if count else ""


def _checksum(data: bytes) -> str:
  if data.startswith(b"\x89PNG"):
    with Image.open(io.BytesIO(data)) as image:
      check_pixels(image)
      data = image.tobytes()
  return hashlib.sha256(data).hexdigest()


def _data(examples: np.ndarray, labels: np.ndarray, names: Any, groups: Mapping[int, str], source: str) -> ClassData:
  """The data set of examples that are sorted by label."""
  classes, counts = np.unique(labels, return_counts=True)
  class_names = tuple(str(names[number]) for number in classes.tolist())
  class_groups = tuple(groups[number] for number in classes.tolist())
  return ClassData(examples, counts.astype(np.int32), class_names, source, class_groups if any(class_groups) else ())


def _png(image: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="png")
  return file.getvalue()
