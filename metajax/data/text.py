"""Intent classification of short texts, as counts of hashed n-grams: CLINC150 with held-out domains, and Banking77.

CLINC150: Larson et al., 2019, https://aclanthology.org/D19-1131, 150 intents in 10 domains, 150 texts each; its
out-of-scope texts are left out. Banking77: Casanueva et al., 2020, https://arxiv.org/abs/2003.04807, 77 intents of one
domain. An n-gram is hashed by a checksum of its letters, so there is no vocabulary to fit or store.
"""

import csv
import gzip
import json
from pathlib import Path
import re
from typing import Sequence
import zlib

import jax.numpy as jnp
import numpy as np

from metajax.data import staged
from metajax.tasks.class_data import ClassData, check_disjoint, check_split, from_arrays, split_classes
from metajax.types import Array

WIDTH = 2048  # buckets that n-grams are hashed to

_MOST = 100_000_000  # characters of an unpacked file; CLINC150 has less than 3 million

# Our own split, as there is no standard one. Both domains about money are in test, so that neither is seen in training.
DOMAINS = {
    "train": ("auto_and_commute", "home", "kitchen_and_dining", "meta", "small_talk", "utility", "work"),
    "val": ("travel",),
    "test": ("banking", "credit_cards"),
}


def clinc150(split: str, *, data_dir: Path | str | None = None, width: int = WIDTH) -> ClassData:
  """Returns the intents of the domains of a split: 105, 15 and 30 intents, with their official 150 texts each.

  Args:
    split: train, val or test.
    data_dir: the folder with `data_full.json` (or `.json.gz`) and `domains.json`, directly, in its sub-folder
      `clinc150` or in `text/clinc150`; by default `$METAJAX_DATA_DIR`.
    width: as in `hashed_ngrams`.

  Returns:
    `examples [n, width]` uint8 counts; `names` are 'domain/intent', `groups` domains.

  Raises:
    FileNotFoundError: if the files are in none of these folders.
    ValueError: for an unknown split, or files that are not CLINC150.
  """
  check_split(split)
  check_disjoint(DOMAINS, "CLINC150")
  folder, name = _find("clinc150", data_dir, ("data_full.json.gz", "data_full.json"), "clinc/oos-eval")
  try:
    domains = json.loads((folder / "domains.json").read_text("utf-8"))
    opened = gzip.open if name.endswith(".gz") else open
    with opened(folder / name, "rt", encoding="utf-8") as file:
      read = file.read(_MOST + 1)
    if len(read) > _MOST:
      raise ValueError(f"{name} is longer than {_MOST} characters")
    data = json.loads(read)
    wanted = {intent: f"{domain}/{intent}" for domain in DOMAINS[split] for intent in domains[domain]}
    pairs = [(text, wanted[intent]) for part in ("train", "val", "test") for text, intent in data[part]
             if intent in wanted]
    texts, intents = zip(*pairs)
    if not all(isinstance(text, str) for text in texts):
      raise ValueError("a text is not a string")
  except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
    raise ValueError(f"{folder} must hold CLINC150's data_full.json and domains.json, but they cannot be read "
                     f"({error!r}); download them again from clinc/oos-eval.") from error
  intents_of = np.asarray(intents)
  source = f"CLINC150 (Larson et al., 2019), domains {', '.join(DOMAINS[split])}, as counts of hashed n-grams."
  groups = [intent.split("/")[0] for intent in np.unique(intents_of).tolist()]
  return from_arrays(hashed_ngrams(texts, width), intents_of, source, groups=groups)


def banking77(split: str, *, data_dir: Path | str | None = None, width: int = WIDTH) -> ClassData:
  """Returns the intents of a split, drawn 60 / 20 / 20 with a fixed seed, with both train and test texts of each.

  Arguments and errors as in `clinc150`; the files are `train.csv` and `test.csv`.
  """
  check_split(split)
  folder, _ = _find("banking77", data_dir, ("train.csv",), "PolyAI-LDN/task-specific-datasets")
  pairs = []
  try:
    for name in ("train.csv", "test.csv"):
      with open(folder / name, encoding="utf-8", newline="") as file:
        pairs += [(row["text"], row["category"]) for row in csv.DictReader(file, strict=True)]
    if any(cell is None for pair in pairs for cell in pair):
      raise ValueError("a row is incomplete")
  except (OSError, ValueError, KeyError, csv.Error) as error:
    raise ValueError(f"{folder} must hold Banking77's train.csv and test.csv with the columns text and category, but "
                     f"they cannot be read ({error!r}).") from error
  if not pairs:
    raise ValueError(f"{folder} must hold Banking77's texts, but its files are empty.")
  texts, intents = zip(*pairs)
  source = f"Banking77 (Casanueva et al., 2020), {split} intents of a fixed draw, as counts of hashed n-grams."
  return split_classes(from_arrays(hashed_ngrams(texts, width), np.asarray(intents), source), split)


def hashed_ngrams(texts: Sequence[str], width: int = WIDTH) -> np.ndarray:
  """Returns counts `[texts, width]` uint8 of words, word pairs, and character 3- to 5-grams within words.

  Raises:
    ValueError: if the width is not positive.
  """
  if width < 1:
    raise ValueError(f"n-grams must be hashed to at least 1 bucket, but the width is {width}.")
  counts = np.zeros((len(texts), width), np.uint8)
  for row, text in zip(counts, texts):
    words = re.findall(r"\w+", text.lower())
    grams = words + [f"{first} {second}" for first, second in zip(words, words[1:])]
    for word in (f"<{word}>" for word in words):
      grams += [f"#{word[at:at + size]}" for size in (3, 4, 5) for at in range(len(word) - size + 1)]
    buckets, times = np.unique([zlib.crc32(gram.encode()) % width for gram in grams], return_counts=True)
    row[buckets.astype(int)] = np.minimum(times, 255)
  return counts


def unit_counts(counts: Array) -> Array:
  """Returns log(1 + count) of counts `[N, width]` as float32 rows of unit norm; zeros for a text without words."""
  damped = jnp.log1p(counts.astype(jnp.float32))
  length = jnp.sqrt(jnp.sum(jnp.square(damped), axis=-1, keepdims=True))
  return damped / jnp.maximum(length, 1e-6)


def _find(name: str, data_dir: Path | str | None, files: Sequence[str], home: str) -> tuple[Path, str]:
  """The first folder that holds one of the files, and that file."""
  folders = staged.folders(data_dir, (f"text/{name}", name, ""), files)
  for folder in folders:
    for file in files:
      if (folder / file).is_file():
        return folder, file
  where = f" and found it in none of {', '.join(map(str, folders))}" if folders else ""
  raise FileNotFoundError(f"Expected {files[-1]} of {name}{where}; set METAJAX_DATA_DIR to a folder that holds it, "
                          f"directly or in text/{name} (download it from {home} on GitHub).")
