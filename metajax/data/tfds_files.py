"""The files of tensorflow-datasets in array_record: find a data set, scan it, write one; without TensorFlow."""

from pathlib import Path
import re
from typing import Any, Callable, Iterator, Mapping

_MANY = 4096  # examples read at a time


def find(name: str, data_dir: Path | str | None = None) -> Any:
  """Returns the builder of a prepared data set, from its files only.

  Args:
    name: the name of the data set, with its config and its version if any, as tfds writes them: `<name>`,
      `<name>/<config>`, `<name>:<version>` or `<name>/<config>:<version>`. By default, the newest version.
    data_dir: the data folder of tfds; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.

  Raises:
    FileNotFoundError: if it has not been prepared there, or not in this version.
    ValueError: if it is not in array_record, or has several configs and none is named.
  """
  import tensorflow_datasets as tfds
  root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  folder = root / name.replace(":", "/")
  versions = [path.parent for pattern in ("", "*/", "*/*/") for path in folder.glob(f"{pattern}dataset_info.json")
              if re.fullmatch(r"\d+(\.\d+)*", path.parent.name)]
  if not versions:
    known = root / re.split("[:/]", name)[0]
    others = sorted(str(path.parent.relative_to(root)) for path in known.rglob("dataset_info.json"))
    raise FileNotFoundError(
        f"Expected the tfds data set {name} in {root}, but it has not been prepared there; "
        + (f"there is {', '.join(others)}; or " if others else "") + "run once, with TensorFlow or without: python -c "
        f"\"from metajax.data.tfds_prepare import prepare; prepare({name!r})\"")
  if len(configs := sorted({str(path.parent.relative_to(root)) for path in versions})) > 1:
    raise ValueError(f"the tfds data set {name} in {root} has several configs; name one of {', '.join(configs)}.")
  found = sorted(versions, key=lambda path: [int(number) for number in path.name.split(".")])
  builder = tfds.builder_from_directory(found[-1])
  kind = str(getattr(builder.info.file_format, "value", builder.info.file_format))
  if kind != "array_record":
    raise ValueError(f"the tfds data set {name} in {root} is stored as {kind}, which has no random access without "
                     "TensorFlow; prepare it again with file_format array_record.")
  return builder


def scan(builder: Any, part: str) -> Iterator[dict[str, Any]]:
  """Returns an iterator over the examples of a split, in the order of its files; images are not decoded."""
  import tensorflow_datasets as tfds
  skipped = {"image": tfds.decode.SkipDecoding()} if "image" in builder.info.features else None
  source = builder.as_data_source(split=part, decoders=skipped)
  for start in range(0, len(source), _MANY):
    yield from source.__getitems__(list(range(start, min(start + _MANY, len(source)))))


def write(name: str, splits: Mapping[str, Callable[[], Iterator[tuple[str, dict[str, Any]]]]],
          features: Mapping[str, Any], description: str, data_dir: Path | str) -> Path:
  """Writes a tfds data set in array_record, and returns its folder.

  Args:
    name: the name of the data set: letters, digits and underscores.
    splits: by name, a function that returns an iterator over keys and examples.
    features: features of tfds, one for each entry of an example.
    description: the description of the data set.
    data_dir: the data folder of tfds.
  """
  import tensorflow_datasets as tfds

  class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg, misc]
    """The data set."""
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, description=description,
                                   features=tfds.features.FeaturesDict(dict(features)))

    def _split_generators(self, dl_manager):
      del dl_manager
      return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split):
      return splits[split]()

  Written.name = name
  builder = Written(data_dir=str(Path(data_dir).expanduser()), file_format="array_record")
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
  return Path(builder.data_path)
