"""Lake's 20 runs: one-shot classification of 20 characters within an alphabet, the test of the Omniglot paper.

Lake et al., 2015 (https://github.com/brendenlake/omniglot): the support set of a run is one drawing of each of 20
characters of an alphabet, by one drawer; the queries are 20 drawings by another. The characters are from ten evaluation
alphabets, some of which are among the training classes of Vinyals et al.: train on the background alphabets instead
(`omniglot.load(..., by_alphabet=True)`).
"""

from pathlib import Path
import re
from typing import NamedTuple
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from metajax.data import omniglot
from metajax.examples import examples
from metajax.tasks.classes import unit_range
from metajax.types import Array, Episode, TaskDistribution

RUNS, WAYS = 20, 20

_FILES = ("one-shot-classification/all_runs.zip", "all_runs.zip")
_LINE = re.compile(r"run(\d\d)/test/item(\d\d)\.png run(\d\d)/training/class(\d\d)\.png")
_MAX_MEMBER_BYTES = 100_000  # the largest has 1,180; a file near this limit is not from Lake's runs


class Runs(NamedTuple):
  """The runs on the host or, as JAX arrays, on the device."""
  shown: Array | np.ndarray  # [20, 20, H, H, 1] uint8, the support set: one drawing of each class, ink 255
  asked: Array | np.ndarray  # [20, 20, H, H, 1] uint8, the queries: another drawing of each class
  classes: Array | np.ndarray  # [20, 20] int32, the classes of the queries, in [0, 20)


def load(*, image_size: int = 28, data_dir: Path | str | None = None) -> Runs:
  """Returns the 20 runs.

  Args:
    image_size: the side that the drawings of 105 pixels are resized to, as in `omniglot.load`.
    data_dir: a folder with `all_runs.zip` or `one-shot-classification/all_runs.zip`, directly, in its sub-folder
      `omniglot` or in `omniglot/python`; by default `$METAJAX_DATA_DIR`, then the user's cache.

  Raises:
    FileNotFoundError: if the file is in none of these folders.
    ValueError: if it is damaged or does not hold Lake's runs.
  """
  folders = omniglot.places(data_dir, _FILES)
  path = next((folder / file for folder in folders for file in _FILES if (folder / file).is_file()), None)
  if path is None:
    raise FileNotFoundError(f"Expected Lake's runs, {_FILES[1]}, and found them in none of "
                            f"{', '.join(map(str, folders))}; download python/{_FILES[0]} from "
                            "https://github.com/brendenlake/omniglot and set METAJAX_DATA_DIR to its folder.")
  member = ""
  try:
    with zipfile.ZipFile(path) as archive:
      def drawings(run, kind):
        nonlocal member
        found = []
        for number in range(1, WAYS + 1):
          member = f"run{run:02d}/{kind}{number:02d}.png"
          found.append(omniglot.decode(_read(archive, member), image_size)[..., None])
        return np.stack(found)

      shown = np.stack([drawings(run, "training/class") for run in range(1, RUNS + 1)])
      asked = np.stack([drawings(run, "test/item") for run in range(1, RUNS + 1)])
      classes = []
      for run in range(1, RUNS + 1):
        member = f"run{run:02d}/class_labels.txt"
        classes.append(_classes(run, _read(archive, member).decode("utf-8")))
  except (OSError, KeyError, ValueError, SyntaxError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"{path} must hold Lake's {RUNS} runs, but {member or 'its table of contents'} cannot be read "
                     f"({error}); download the official file again.") from error
  return Runs(shown, asked, np.stack(classes))


def run_tasks(runs: Runs) -> TaskDistribution:
  """Returns the runs as 20-way 1-shot tasks with one query per class; test episodes cycle through them."""
  labels = jnp.arange(WAYS, dtype=jnp.int32)

  def run(data, number):
    return Episode(examples(unit_range(data.shown[number]), labels),
                   examples(unit_range(data.asked[number]), data.classes[number]))

  def sample(data, key):
    return run(data, jax.random.randint(key, (), 0, RUNS))

  def listed(data, key, index):
    del key  # the runs are fixed
    return run(data, index % RUNS)

  return TaskDistribution(sample, Runs(*map(jnp.asarray, runs)), listed=listed)


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
  size = archive.getinfo(member).file_size
  if size > _MAX_MEMBER_BYTES:
    raise ValueError(f"it declares {size} bytes")
  return archive.read(member)


def _classes(run: int, text: str) -> np.ndarray:
  """Returns the class of each query, from lines `runRR/test/itemNN.png runRR/training/classNN.png`."""
  found = np.full(WAYS, -1, np.int32)
  for line in text.split("\n"):
    if match := _LINE.fullmatch(line.strip()):
      first, item, second, number = map(int, match.groups())
      if first == second == run and 1 <= item <= WAYS:
        found[item - 1] = number - 1
  if sorted(found.tolist()) != list(range(WAYS)):
    raise ValueError(f"it does not name each of the {WAYS} classes once")
  return found
