"""Image classification from any tensorflow-datasets builder by name, read without TensorFlow; and the way back.

Data prepared as array_record is read whether or not TensorFlow is installed, with the same result: images are decoded
by Pillow. `store` writes any labelled images so, which tfds then reads without the code of a builder.
"""

import hashlib
import io
from pathlib import Path
from typing import Any, Iterator, Mapping

from PIL import Image
import numpy as np

from metajax.data import download as download_lib
from metajax.data.class_data import SPLITS, ClassData, check_disjoint, check_split, split_classes
from metajax.data.folders import decode

_FORMAT = 1  # of the cached arrays: to be raised whenever decoding changes
_MANY = 4096  # examples read at a time


def load(name: str, split: str, *, image_size: int = 84, data_dir: Path | str | None = None,
         shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> ClassData:
  """Returns the classes of one split of a data set that was prepared as array_record.

  Where the data set has the splits train, val and test with no class in common, as those of `store`, they are kept.
  Otherwise all its splits are put together and the classes shared by a fixed draw. Examples of a class are in the order
  of the feature `rank` if there is one, else of a checksum of their bytes: that of the files is of no meaning.

  Args:
    name: of the data set, with its config if it has one: `caltech_birds2011`, `visual_domain_decathlon/aircraft`.
    split: train, val or test, of the classes.
    image_size: the side of the squares that images are cropped and reduced to.
    data_dir: where tfds keeps its data; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
    shares, seed: how classes are shared, as in `split_classes`.

  Raises:
    FileNotFoundError: if the data set has not been prepared there.
    ValueError: if it is not in array_record, or has no features `image` and `label`, or an image cannot be decoded.
  """
  check_split(split)
  builder = _builder(name, data_dir)
  features = builder.info.features
  if features is None or not {"image", "label"} <= set(features):
    raise ValueError(f"the tfds data set {name} must have the features image and label, but has "
                     f"{', '.join(features or ())}.")
  grey = features["image"].shape[-1] == 1
  # The digest of what was prepared is not to be had: its name, version, sizes and place must do.
  facts = {part: (info.num_examples, info.num_bytes) for part, info in builder.info.splits.items()}
  key = hashlib.sha256(repr((_FORMAT, builder.info.full_name, str(builder.data_path), sorted(facts.items()),
                             image_size)).encode()).hexdigest()[:16]
  arrays = download_lib.cached_arrays(
      download_lib.cache_dir() / f"tfds-{image_size}-{key}.npz", ("images", "labels", "parts", "names"),
      lambda: _read(builder, sorted(facts), image_size, grey))
  labels, parts = arrays["labels"], arrays["parts"]
  called = getattr(features["label"], "names", None) or dict(zip(np.unique(labels).tolist(), arrays["names"].tolist()))
  by_part = {part: np.unique(labels[parts == number]).tolist() for number, part in enumerate(sorted(facts))}
  met = [label for part in by_part.values() for label in part]
  source = f"tensorflow-datasets {builder.info.full_name}, the {split} classes"
  if set(by_part) == set(SPLITS) and len(met) == len(set(met)):
    rows = parts == sorted(facts).index(split)
    return _data(arrays["images"][rows], labels[rows], called, source + ".")
  everything = _data(arrays["images"], labels, called, f"{source} of a fixed draw (seed {seed}).")
  return split_classes(everything, split, shares=shares, seed=seed)


def store(name: str, splits: Mapping[str, ClassData], data_dir: Path | str) -> Path:
  """Writes labelled images as a tfds data set in array_record, and returns its folder.

  Its features are image (PNG), label (numbered through all splits), name of the class, and rank within it. Needs no
  TensorFlow; `load(name, split, data_dir=data_dir)` gives the splits back.

  Args:
    name: of the data set, letters, digits and underscores.
    splits: by name, such as train, val and test; `examples [n, H, W, 1 or 3]` uint8 of one size.
    data_dir: where tfds keeps its data.

  Raises:
    ValueError: if there is no split, examples are no images of one size, or a class is in two splits.
  """
  import tensorflow_datasets as tfds  # not needed by those who read other data, and slow to import
  check_disjoint({split: data.names for split, data in splits.items()}, name)
  shapes = {data.examples.shape[1:] for data in splits.values()}
  if len(shapes) != 1 or len(shape := next(iter(shapes))) != 3 or shape[-1] not in (1, 3) or any(
      data.examples.dtype != np.uint8 for data in splits.values()):
    raise ValueError("a tfds data set is stored from splits of uint8 images [n, H, W, 1 or 3] of one size, but got "
                     f"{sorted(map(list, shapes))}.")
  first = dict(zip(splits, np.cumsum([0, *(len(data.names) for data in splits.values())]).tolist()))

  def examples(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    data, row = splits[split], 0
    for label, (called, count) in enumerate(zip(data.names, data.counts.tolist())):
      for rank in range(count):
        yield f"{label}/{rank}", {"image": _png(data.examples[row]), "label": first[split] + label, "rank": rank,
                                  "name": called}
        row += 1

  class Classes(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg, misc]
    """The data set."""
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, description=" ".join(data.source for data in splits.values()),
                                   features=tfds.features.FeaturesDict({
                                       "image": tfds.features.Image(shape=shape, encoding_format="png"),
                                       "label": np.int64, "rank": np.int64, "name": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
      del dl_manager
      return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split):
      return examples(split)

  Classes.name = name
  builder = Classes(data_dir=str(Path(data_dir).expanduser()), file_format="array_record")
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  return Path(builder.data_path)


def _builder(name: str, data_dir: Path | str | None) -> Any:
  """The builder of a data set that is there, from its files alone."""
  import tensorflow_datasets as tfds
  root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  found = sorted(path.parent for pattern in ("*/dataset_info.json", "*/*/dataset_info.json")
                 for path in (root / name).glob(pattern))
  if not found:
    raise FileNotFoundError(
        f"Expected the tfds data set {name} in {root}, but it has not been prepared there; run once, with TensorFlow "
        f"or without: python -c \"from metajax.data.tfds_prepare import prepare; prepare({name!r})\"")
  builder = tfds.builder_from_directory(found[-1])
  kind = str(getattr(builder.info.file_format, "value", builder.info.file_format))
  if kind != "array_record":
    raise ValueError(f"the tfds data set {name} in {root} is stored as {kind}, which has no random access without "
                     "TensorFlow; prepare it again with file_format array_record.")
  return builder


def _read(builder: Any, parts: list[str], image_size: int, grey: bool) -> dict[str, np.ndarray]:
  """Images [n, image_size, image_size, 1 or 3], labels [n] and the numbers of their parts [n], in canonical order.

  And the names of the classes, sorted by label.
  """
  import tensorflow_datasets as tfds
  rows: list[tuple[int, int, Any, bytes]] = []
  called: dict[int, str] = {}
  for number, part in enumerate(parts):
    source = builder.as_data_source(split=part, decoders={"image": tfds.decode.SkipDecoding()})
    for start in range(0, len(source), _MANY):
      for row in source.__getitems__(list(range(start, min(start + _MANY, len(source))))):
        data = row["image"]
        order = int(row["rank"]) if "rank" in row else hashlib.sha256(data).hexdigest()
        rows.append((int(row["label"]), number, order, data))
        called[int(row["label"])] = row["name"].decode() if "name" in row else str(row["label"])
  rows.sort(key=lambda row: row[:3])
  images = []
  for label, number, order, data in rows:
    try:
      images.append(decode(io.BytesIO(data), image_size, grey))
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError, Image.DecompressionBombError) as error:
      raise ValueError(f"{builder.info.full_name} must hold images, but one of label {label} in {parts[number]} "
                       f"(order {order}) cannot be decoded ({error}).") from error
  return {"images": np.stack(images), "labels": np.asarray([row[0] for row in rows]),
          "parts": np.asarray([row[1] for row in rows]),
          "names": np.asarray([called[label] for label in sorted(called)])}


def _data(images: np.ndarray, labels: np.ndarray, called: Any, source: str) -> ClassData:
  """Images sorted by label, as classes."""
  classes, counts = np.unique(labels, return_counts=True)
  names = tuple(str(called[number]) for number in classes.tolist())
  return ClassData(images, counts.astype(np.int32), names, source)


def _png(image: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="png")
  return file.getvalue()
