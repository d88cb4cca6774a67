"""Converts a data set that metajax can read to one of tensorflow-datasets, which can then be read by name.

  python -m launch.to_tfds --data=cifar-fs                               then: --config.data=tfds:cifar_fs
  python -m launch.to_tfds --data=miniimagenet:imagenet --name=mini      from your folder of images
  python -m launch.to_tfds --data=clinc150                               vectors: --config=vectors
  python -m launch.to_tfds --data=fsmol                                  assays: --config=fsmol

TensorFlow is not needed, and the data gives the same tasks with and without it.
"""

import re
from typing import Any

from absl import flags
import tensorflow_datasets as tfds

from experiments.sources import image_reader, vector_reader
from launch import command_line
from metajax.data import fsmol, tfds_classes, tfds_groups
from metajax.tasks.class_data import SPLITS

_DATA = flags.DEFINE_string("data", "cifar-fs", "the data to write, as for --config.data: <name>, or <kind>:<path>")
_NAME = flags.DEFINE_string("name", "", "the name of the new data set; by default that of the data, with underscores")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "the side of the images, if it can be chosen; 0 for the default")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "the data folder of tfds; by default $TFDS_DATA_DIR or that of tfds")
_VECTORS = ("clinc150", "banking77")


def main(_: list[str]) -> None:
  name = _NAME.value or re.sub(r"\W+", "_", _DATA.value.partition(":")[0])
  folder = _DATA_DIR.value or str(tfds.core.constants.DATA_DIR)
  if _DATA.value == "fsmol":
    written = tfds_groups.store(name, {split: fsmol.load(split) for split in SPLITS}, folder)
  else:
    read: Any = vector_reader(_DATA.value)[0] if _DATA.value in _VECTORS else image_reader(
        _DATA.value, _IMAGE_SIZE.value)
    written = tfds_classes.store(name, {split: read(split) for split in SPLITS}, folder)
  print(f"Written to {written}; read it with --config.data=tfds:{name}.")


if __name__ == "__main__":
  command_line.run(main)
