"""Prepares a data set of tensorflow-datasets as array_record with its own builder, with or without TensorFlow.

The builders of tfds 4.9 use TensorFlow for little more than opening files and encoding images. If it is not installed,
a stub with these few functions replaces it while a data set is prepared.
"""

import contextlib
import glob
from importlib import util
import io
import os
from pathlib import Path
import types
from typing import Any, Iterator

from PIL import Image
import numpy as np

from metajax.data.download import exclusive


def prepare(name: str, *, data_dir: Path | str | None = None, manual_dir: Path | str | None = None) -> Path:
  """Prepares a data set, unless it is already prepared, and returns its folder, which `tfds_classes.load` reads.

  Args:
    name: the name of the data set, with its config if any: `cifar100`, `visual_domain_decathlon/aircraft`.
    data_dir: the data folder of tfds; by default `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
    manual_dir: a folder with files downloaded by other means, under the file names of tfds. They are used without a
      check, instead of downloads. Downloads are checked against the checksums of tfds.

  Raises:
    ValueError: if tfds has no builder of this name, or if preparation fails; the reason is given.
  """
  import tensorflow_datasets as tfds  # optional, and slow to import
  with contextlib.nullcontext() if util.find_spec("tensorflow") else _without_tensorflow():
    try:
      builder = tfds.builder(name, file_format="array_record", **(
          {"data_dir": str(Path(data_dir).expanduser())} if data_dir else {}))
    except (tfds.core.load.registered.DatasetNotFoundError, ValueError) as error:
      raise ValueError(f"tensorflow-datasets has no data set {name!r} ({str(error).splitlines()[0]}).") from error
    settings: dict[str, Any] = {"try_download_gcs": False}
    if manual_dir is not None:
      folder = Path(manual_dir).expanduser()
      settings["manual_dir"] = str(folder)
      _accept_checksums(builder, folder)
    try:
      with exclusive(Path(builder.data_path)):  # a second process waits, then finds the data prepared
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**settings))
    except Exception as error:  # there are hundreds of builders, which may raise anything
      raise ValueError(f"the tfds data set {name} could not be prepared ({type(error).__name__}: "
                       f"{' '.join(str(error).split())[:300]}).") from error
  return Path(builder.data_path)


def _accept_checksums(builder: Any, folder: Path) -> None:
  """Replaces the expected checksums, in memory, by those of the files in the folder, which may be re-packed."""
  from etils import epath
  from tensorflow_datasets.core.download import checksums
  known = type(builder).url_infos
  for url, info in list(known.items()):
    if (folder / info.filename).is_file():
      known[url] = checksums.compute_url_info(epath.Path(folder / info.filename))


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
  """A block in which a stub replaces TensorFlow in tfds. It relies on private names of tfds 4.9.10."""
  from tensorflow_datasets.core.features import image_feature
  from tensorflow_datasets.core.utils import lazy_imports_utils

  def opened(path, mode: str = "r") -> Any:
    return open(path, mode, encoding=None if "b" in mode else "utf-8")

  files = types.SimpleNamespace(
      GFile=opened, listdir=os.listdir, isdir=os.path.isdir, exists=os.path.exists, glob=glob.glob, walk=os.walk)
  stub = types.SimpleNamespace(
      io=types.SimpleNamespace(gfile=files), data=types.SimpleNamespace(Dataset=type("Dataset", (), {})),
      compat=types.SimpleNamespace(as_text=lambda text: text if isinstance(text, str) else text.decode()),
      __version__="0")

  def encode(self, array):
    image_feature._validate_np_array(array, shape=self.shape, dtype=self.np_dtype)
    file = io.BytesIO()
    Image.fromarray(np.squeeze(array, -1) if array.shape[-1] == 1 else array).save(file, format=self.encoding_format)
    return file.getvalue()

  lazy = lazy_imports_utils.tensorflow.__dict__
  encoder = image_feature._ImageEncoder
  before, lazy["_module"] = lazy.get("_module"), stub
  encoded, encoder._encode_image = encoder._encode_image, encode
  try:
    yield
  finally:
    encoder._encode_image = encoded
    if before is None:
      del lazy["_module"]
    else:
      lazy["_module"] = before
