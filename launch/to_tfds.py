"""Writes a data set that metajax reads as one of tensorflow-datasets, once, to be read by its name.

  python -m launch.to_tfds --data=cifar-fs                               then: --config.data=tfds:cifar_fs
  python -m launch.to_tfds --data=miniimagenet:imagenet --name=mini      from your folder of images
  python -m launch.to_tfds --data=clinc150                               vectors: --config=vectors
  python -m launch.to_tfds --data=fsmol                                  assays: --config=fsmol

Needs no TensorFlow, and what is written is read with and without it, as the same tasks.
"""

import re
from typing import Any

from absl import flags
import tensorflow_datasets as tfds

from experiments.sources import image_reader, vector_reader
from launch import command_line
from metajax.data import fsmol, tfds_classes, tfds_groups
from metajax.tasks.class_data import SPLITS

_DATA = flags.DEFINE_string("data", "cifar-fs", "what to write, a word of --config.data: a name, or a kind and a place")
_NAME = flags.DEFINE_string("name", "", "what it is called; by default the same, with underscores")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "the side of images where it can be chosen; 0 is the usual")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "where tfds keeps its data; by default $TFDS_DATA_DIR or its own place")
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
