"""Maps the name of a data set, as in `--config.data`, to a reader of its splits."""

import functools
from typing import Callable, Mapping

from metajax.data import cifar100, folders, glyphs, listed, npz, omniglot, staged, text, tfds_classes
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import unit_range
from metajax.types import Array

Reader = Callable[[str], ClassData]  # from a split

IMAGE_SIZE = 84  # the default for a user's images: that of miniImageNet


def image_reader(data: str, image_size: int = 0) -> Reader:
  """Returns the reader of a data set of classes.

  Args:
    data: omniglot (or omniglot-vinyals), omniglot-lake, glyphs, cifar-fs, fc100; folder:<path>, with one sub-folder of
      images per class; miniimagenet:<path>, tieredimagenet:<path> and cub:<path>, such folders with the published
      classes; npz:<path>, with the arrays inputs and targets; or tfds:<name>, a data set of tensorflow-datasets,
      prepared as array_record. A path may be an address in a bucket, such as `gs://bucket/cards`.
    image_size: the side of images, if it can be chosen; 0: the default, 28 for Omniglot, 84 for folders and tfds.

  Raises:
    ValueError: for an unknown word, a kind without its path, or an image size for data of fixed size.
  """
  kind, _, place = data.partition(":")
  placed: Mapping[str, Callable[[], Reader]] = {
      "folder": lambda: lambda split: folders.load(staged.local(place), split, image_size=image_size or IMAGE_SIZE),
      **{each: functools.partial(_listed, each, place, image_size) for each in listed.PROTOCOLS},
      "npz": lambda: lambda split: npz.load(staged.local(place), split),
      "tfds": lambda: lambda split: tfds_classes.load(place, split, image_size=image_size or IMAGE_SIZE)}
  named: Mapping[str, Callable[[], Reader]] = {
      "omniglot": functools.partial(_omniglot, False, image_size),
      "glyphs": lambda: glyphs.load,
      "cifar-fs": lambda: lambda split: cifar100.load(split, protocol="cifar-fs"),
      "fc100": lambda: lambda split: cifar100.load(split, protocol="fc100"),
      "omniglot-vinyals": functools.partial(_omniglot, False, image_size),
      "omniglot-lake": functools.partial(_omniglot, True, image_size)}
  if image_size and kind not in ("folder", "tfds", "omniglot", "omniglot-vinyals", "omniglot-lake", *listed.PROTOCOLS):
    raise ValueError(f"config.image_size={image_size} has no effect on config.data={data!r}, whose images have a "
                     "fixed size; leave it at 0.")
  if kind in placed and place:
    return placed[kind]()
  if data not in named:
    raise ValueError(f"config.data={data!r} is not known; choose one of {', '.join(named)}, folder:<path>, "
                     f"npz:<path>, tfds:<name>, {', '.join(f'{each}:<path>' for each in listed.PROTOCOLS)}.")
  return named[data]()


def _omniglot(by_alphabet: bool, image_size: int) -> Reader:
  return lambda split: omniglot.load(split, image_size=image_size or 28, by_alphabet=by_alphabet)


def _listed(protocol: str, place: str, image_size: int) -> Reader:
  return lambda split: listed.load(staged.local(place), split, protocol=protocol, image_size=image_size or IMAGE_SIZE)


def vector_reader(data: str) -> tuple[Reader, Callable[[Array], Array]]:
  """Returns the reader of a data set of classes of vectors, and the function from stored rows to a network's inputs.

  Args:
    data: clinc150, banking77; npz:<path>, with the arrays inputs [n, features] and targets [n]; or tfds:<name>, vectors
      written by `data.tfds_classes.store`; counts are treated as those of texts.

  Raises:
    ValueError: for an unknown word, or a kind without its path.
  """
  kind, _, place = data.partition(":")
  if kind == "npz" and place:
    return lambda split: npz.load(staged.local(place), split), unit_range
  if kind == "tfds" and place:
    return lambda split: tfds_classes.load(place, split), text.unit_counts
  readers: Mapping[str, Reader] = {"clinc150": text.clinc150, "banking77": text.banking77}
  if data not in readers:
    raise ValueError(f"config.data={data!r} is not known; choose one of {', '.join(readers)}, npz:<path>, "
                     "tfds:<name>.")
  return readers[data], text.unit_counts
