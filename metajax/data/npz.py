"""Classification from an .npz file with the arrays `inputs [n, ...]` and `targets [n]`.

Optional arrays are `names`, the names of classes 0, 1, ..., and `split [n]`, the words train, val or test; without
`split`, the classes are split at random with a fixed seed. Images are inputs with four axes; if they are whole numbers,
they are scaled as 8-bit or deeper pixels (`data.pixels`), and reals are kept as they are.
"""

from pathlib import Path

import numpy as np

from metajax.data.download import UNREADABLE, check_fits
from metajax.data.pixels import in_unit_range
from metajax.tasks.class_data import SPLITS, ClassData, check_disjoint, check_split, from_arrays, split_classes


def load(path: Path | str, split: str, *, shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
         ) -> ClassData:
  """Returns the classes of one split of a file of arrays.

  Args:
    path: the path of the file.
    split: train, val or test.
    shares, seed: how classes are split if the file has no splits, as in `split_classes`.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it cannot be read, lacks an array, is not a valid labelled set, or two splits have a class in common.
  """
  check_split(split)
  path = Path(path).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f"expected an .npz with the arrays inputs and targets, but there is no file {path}.")
  try:
    # Never a pickle: a data file must not run code.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
      check_fits(sum(info.file_size for info in stored.zip.infolist()))
      arrays = {key: stored[key] for key in ("inputs", "targets", "names", "split") if key in stored.files}
      held = ", ".join(stored.files)
  except UNREADABLE as error:
    raise ValueError(f"{path} must be an .npz of plain arrays, but cannot be read ({error}).") from error
  if not {"inputs", "targets"} <= arrays.keys():
    raise ValueError(f"{path} must hold the arrays inputs and targets, but holds {held or 'none'}.")
  if arrays["inputs"].ndim == 4 and arrays["inputs"].dtype.kind in "iu":
    arrays["inputs"] = in_unit_range(arrays["inputs"])
  names = arrays["names"].tolist() if "names" in arrays else None
  source = f"Arrays of {path.name}, the {split} classes"
  if "split" not in arrays:
    data = from_arrays(arrays["inputs"], arrays["targets"], f"{source} of a fixed draw (seed {seed}).", names)
    return split_classes(data, split, shares=shares, seed=seed, fewest=2)
  split_of = arrays["split"]
  if split_of.shape != arrays["targets"].shape or not np.isin(split_of, SPLITS).all():
    raise ValueError(f"the array split of {path} must give each target one of the words {', '.join(SPLITS)}.")
  check_disjoint({name: np.unique(arrays["targets"][split_of == name]).astype(str).tolist() for name in SPLITS},
                 str(path))
  rows = split_of == split
  if not rows.any():
    raise ValueError(f"{path} has no example in its {split} split.")
  return from_arrays(arrays["inputs"][rows], arrays["targets"][rows], source + ".", names)
