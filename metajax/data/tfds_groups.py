"""Writes and reads grouped rows, such as FS-Mol's assays, as a data set of tensorflow-datasets."""

import functools
import hashlib
from pathlib import Path
from typing import Any, Iterator, Mapping

import jax
import numpy as np

from metajax.data import download as download_lib
from metajax.data import tfds_files
from metajax.tasks.class_data import check_disjoint
from metajax.tasks.groups import GroupData

_FORMAT = 1  # version of the cached arrays; increase it whenever reading changes


def store(name: str, splits: Mapping[str, GroupData], data_dir: Path | str) -> Path:
  """Writes rows sorted by group as a tfds data set in array_record, and returns its folder.

  Its features are `inputs_0`, `inputs_1` and so on, the leaves of the inputs; `target`; `group`, the name of the group;
  `number`, its number across splits; and `rank` within it. `load` reads the splits back.

  Args:
    name: the name of the data set: letters, digits and underscores.
    splits: by name, each with inputs of one shape.
    data_dir: the data folder of tfds.

  Raises:
    ValueError: if there is no split, or a group is in two splits.
  """
  import tensorflow_datasets as tfds  # optional, and slow to import
  if not splits:
    raise ValueError("a tfds data set is stored from one split or more, but none was given.")
  check_disjoint({split: data.names for split, data in splits.items()}, name)
  # Rows of different splits may differ in length; they are padded with zeros to the longest.
  shapes = [[leaf.shape[1:] for leaf in jax.tree.leaves(data.inputs)] for data in splits.values()]
  widest = [tuple(np.max(leaf, axis=0)) if leaf[0] else () for leaf in zip(*shapes)]
  some = next(iter(splits.values()))
  features = {f"inputs_{index}": tfds.features.Tensor(shape=tuple(map(int, shape)), dtype=leaf.dtype, encoding="zlib")
              for index, (shape, leaf) in enumerate(zip(widest, jax.tree.leaves(some.inputs)))}
  target = tfds.features.Tensor(shape=some.targets.shape[1:], dtype=some.targets.dtype)
  first = dict(zip(splits, np.cumsum([0, *(len(data.names) for data in splits.values())]).tolist()))

  def examples(split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    data, row = splits[split], 0
    leaves = [np.pad(leaf, [(0, 0), *((0, int(to) - size) for to, size in zip(shape, leaf.shape[1:]))])
              for shape, leaf in zip(widest, jax.tree.leaves(data.inputs))]
    for number, (group, count) in enumerate(zip(data.names, data.counts.tolist())):
      for rank in range(count):
        yield f"{number}/{rank}", {
            **{f"inputs_{index}": leaf[row] for index, leaf in enumerate(leaves)}, "target": data.targets[row],
            "group": group, "number": first[split] + number, "rank": rank}
        row += 1

  return tfds_files.write(name, {split: functools.partial(examples, split) for split in splits},
                            {**features, "target": target, "group": tfds.features.Text(), "number": np.int64,
                             "rank": np.int64}, " ".join(data.source for data in splits.values()), data_dir)


def load(name: str, split: str, *, data_dir: Path | str | None = None) -> GroupData:
  """Returns the groups of one split of a data set that `store` wrote, its inputs a tuple of arrays.

  Raises:
    FileNotFoundError: if the data set has not been prepared there.
    ValueError: if it is not in array_record, has no such split, or was not written by `store`.
  """
  builder = tfds_files.find(name, data_dir)
  features = builder.info.features
  if features is None or not {"inputs_0", "target", "group", "number", "rank"} <= set(features):
    raise ValueError(f"the tfds data set {name} must have been written by metajax.data.tfds_groups.store, but has the "
                     f"features {', '.join(features or ())}.")
  if split not in builder.info.splits:
    raise ValueError(f"the tfds data set {name} has the splits {', '.join(builder.info.splits)}, not {split!r}.")
  info = builder.info.splits[split]
  num_leaves = sum(feature.startswith("inputs_") for feature in features)
  key = hashlib.sha256(repr((_FORMAT, builder.info.full_name, str(builder.data_path), split, info.num_examples,
                             info.num_bytes)).encode()).hexdigest()[:16]
  names = tuple(f"inputs_{index}" for index in range(num_leaves))
  arrays = download_lib.cached_arrays(download_lib.cache_dir() / f"tfds-groups-{key}.npz",
                                      (*names, "targets", "counts", "groups"), lambda: _read(builder, split, names))
  return GroupData(tuple(arrays[each] for each in names), arrays["targets"], arrays["counts"],
                   tuple(arrays["groups"].tolist()),
                   f"tensorflow-datasets {builder.info.full_name}, the {split} groups.")


def _read(builder: Any, split: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  rows = sorted(tfds_files.scan(builder, split), key=lambda row: (int(row["number"]), int(row["rank"])))
  numbers, counts = np.unique([int(row["number"]) for row in rows], return_counts=True)
  groups = {int(row["number"]): row["group"].decode() for row in rows}
  return {**{each: np.stack([row[each] for row in rows]) for each in names},
          "targets": np.stack([row["target"] for row in rows]), "counts": counts.astype(np.int32),
          "groups": np.asarray([groups[number] for number in numbers.tolist()])}
