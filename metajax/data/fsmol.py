"""FS-Mol: predicts whether a molecule is active in an assay, from a few measured molecules; one task per assay.

Stanley et al., 2021, https://openreview.net/forum?id=701FtuyLlAd. A molecule is represented by its precomputed count
fingerprint of 2048 bins, stored sparsely; no chemistry library is needed.
"""

import gzip
import hashlib
import json
import lzma
from pathlib import Path, PurePosixPath
import tarfile
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from metajax.data import download as download_lib
from metajax.data import staged
from metajax.tasks.class_data import check_split
from metajax.tasks.groups import GroupData
from metajax.types import Array

BINS = 2048

_TASKS, _PRINTS, _SMILES = "fs-mol-smiles.tar.xz", "fingerprints.npz", "smiles.txt.gz"
_FOLDERS = {"train": "train", "val": "valid", "test": "test"}
_MAX_TASK_BYTES = 50_000_000  # unpacked, of one assay; the largest has less than 5 MB
_FORMAT = 1  # version of the cached arrays; increase it whenever reading changes


class Fingerprints(NamedTuple):
  """Sparse count fingerprints of `n` molecules; unused entries have count 0."""
  bins: Array | np.ndarray  # [n, M] int16
  counts: Array | np.ndarray  # [n, M] uint8


def load(split: str, *, data_dir: Path | str | None = None) -> GroupData:
  """Returns the assays of a split: their molecules as `Fingerprints`, targets 1 for active and 0 for inactive.

  Args:
    split: train, val (FS-Mol's valid) or test.
    data_dir: the folder with the tasks `fs-mol-smiles.tar.xz` and the molecules `smiles.txt.gz` and `fingerprints.npz`
      (CSR: indices, counts, indptr), directly or in its sub-folder `fsmol`; by default `$METAJAX_DATA_DIR`.

  Raises:
    FileNotFoundError: if the files are in none of these folders.
    ValueError: for an unknown split, or files that are not FS-Mol.
  """
  check_split(split)
  folder = _find(data_dir)
  sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (_TASKS, _PRINTS, _SMILES)]
  key = hashlib.sha256(repr((_FORMAT, split, sums)).encode()).hexdigest()[:16]
  arrays = download_lib.cached_arrays(download_lib.cache_dir() / f"fsmol-{split}-{key}.npz",
                                      ("bins", "molecule_counts", "targets", "counts", "names"),
                                      lambda: _read(folder, split))
  return GroupData(Fingerprints(arrays["bins"], arrays["molecule_counts"]), arrays["targets"], arrays["counts"],
                   tuple(arrays["names"].tolist()), f"FS-Mol (Stanley et al., 2021), {split} assays.")


def dense(prints: Fingerprints) -> Array:
  """Returns fingerprints of `N` molecules as `[N, 2048]` float32: log(1 + count)."""
  rows = jnp.arange(prints.bins.shape[0], dtype=jnp.int32)[:, None]
  zeros = jnp.zeros((prints.bins.shape[0], BINS), jnp.float32)
  return zeros.at[rows, prints.bins.astype(jnp.int32)].add(jnp.log1p(prints.counts.astype(jnp.float32)))


def _find(data_dir: Path | str | None) -> Path:
  folders = staged.folders(data_dir, ("fsmol", ""), (_TASKS, _PRINTS, _SMILES))
  for folder in folders:
    if all((folder / name).is_file() for name in (_TASKS, _PRINTS, _SMILES)):
      return folder
  where = f" and found them in none of {', '.join(map(str, folders))}" if folders else ""
  raise FileNotFoundError(f"Expected FS-Mol as {_TASKS}, {_PRINTS} and {_SMILES}{where}; set METAJAX_DATA_DIR to a "
                          "folder that holds them.")


def _read(folder: Path, split: str) -> dict[str, np.ndarray]:
  member = ""
  try:
    with gzip.open(folder / _SMILES, "rt", encoding="utf-8") as lines:
      molecules = {line.rstrip("\n"): row for row, line in enumerate(lines)}
    # Opened here because numpy leaves a file open if it is not a zip.
    with open(folder / _PRINTS, "rb") as prints, np.load(prints, allow_pickle=False) as stored:
      indices, counts, starts = (stored[name] for name in ("indices", "counts", "indptr"))
    steps = np.diff(starts.astype(np.int64), prepend=0, append=len(indices))
    if (len(starts) != len(molecules) + 1 or len(counts) != len(indices) or indices.max(initial=0) >= BINS
        or steps[[0, -1]].any() or steps.min() < 0):
      raise ValueError(f"{_PRINTS} does not describe the {len(molecules)} molecules of {_SMILES}")
    tasks: dict[str, tuple[list[int], list[int]]] = {}
    with tarfile.open(folder / _TASKS, "r:xz") as archive:  # read as a stream; nothing is unpacked to disk
      for info in archive:
        member = info.name
        path = PurePosixPath(member)
        if not info.isfile() or path.suffix != ".jsonl" or path.parent.name != _FOLDERS[split]:
          continue
        if info.size > _MAX_TASK_BYTES:
          raise ValueError(f"it declares {info.size} bytes")
        file = archive.extractfile(info)
        rows = [json.loads(line) for line in file] if file else []
        tasks[path.stem] = ([molecules[row["SMILES"]] for row in rows], [int(float(row["Property"])) for row in rows])
    member = ""
    if not tasks:
      raise ValueError(f"it holds no assay of {_FOLDERS[split]}")
  except (*download_lib.UNREADABLE, lzma.LZMAError, tarfile.TarError) as error:
    raise ValueError(f"{folder} must hold FS-Mol, but {member or 'one of its files'} cannot be read ({error!r}); "
                     "download it again.") from error
  names = sorted(tasks)
  chosen = np.concatenate([tasks[name][0] for name in names])
  bins, molecule_counts = _padded(indices, counts, starts.astype(np.int64), chosen)
  return {"bins": bins, "molecule_counts": molecule_counts,
          "targets": np.concatenate([tasks[name][1] for name in names]).astype(np.int32),
          "counts": np.asarray([len(tasks[name][0]) for name in names], np.int32), "names": np.asarray(names)}


def _padded(indices: np.ndarray, counts: np.ndarray, starts: np.ndarray, rows: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
  """Some rows of a sparse matrix, padded to the number of entries of the longest."""
  lengths = (starts[1:] - starts[:-1])[rows]
  columns = np.arange(max(1, int(lengths.max(initial=0))))
  used = columns[None] < lengths[:, None]
  at = np.where(used, starts[rows][:, None] + columns[None], 0)
  return np.where(used, indices[at], 0).astype(np.int16), np.where(used, counts[at], 0).astype(np.uint8)
