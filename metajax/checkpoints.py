"""Checkpoints: Orbax, with a digest of every one and a way back to the newest that is whole.

Orbax restores flipped bits without a word, takes a stray empty folder for the latest step, and declines a save at or
below the latest step by a return value alone. Hence the digest, the fallback, and the check of the return.
"""

import hashlib
import itertools
import logging
from pathlib import Path
import shutil
from typing import Any, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from metajax.hosts import is_writer, to_host, wait
from metajax.types import PyTree


class Damaged(Exception):
  """There are checkpoints, and not one of them is whole."""


class Checkpoints:
  """The checkpoints of one run, in a folder of their own. A context manager; leaving it waits for the last save."""

  def __init__(self, folder: Path | str, *, keep: int = 2, read_only: bool = False):
    """Opens or creates the folder; the newest `keep` checkpoints are kept.

    With `read_only` the folder must exist, and nothing in it changes: another process may be saving to it.
    """
    # Orbax's own read_only does the same with five lines of warnings.
    options = ocp.CheckpointManagerOptions(
        create=not read_only, cleanup_tmp_directories=not read_only,
        save_decision_policy=policies.FixedIntervalPolicy(1), preservation_policy=policies.LatestN(keep))
    self._folder = Path(folder).absolute()
    self._read_only = read_only
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *error: Any) -> None:
    self._manager.close()

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint, whole or not, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: PyTree, metrics: Mapping[str, float] | None = None) -> None:
    """Saves the state of a step, in the background; the arrays may be donated at once.

    Raises:
      ValueError: if Orbax declines it, as it does for a step at or below the newest.
    """
    about = {"digest": digest(state), "metrics": {name: float(value) for name, value in (metrics or {}).items()}}
    arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about))
    if not self._manager.save(step, args=arguments):
      raise ValueError(f"step {step} was not saved: there is a checkpoint of step {self._manager.latest_step()} "
                       "already; remove it, or save to another folder.")

  def restore(self, like: PyTree) -> tuple[int, PyTree] | None:
    """Returns the newest whole checkpoint as `(step, state)`, or None if there never was one.

    Damaged ones that are newer are moved to the folder `<folder>-damaged`, to make way for the steps to come, unless
    `read_only`.

    Args:
      like: a state of the same structure, shapes, dtypes and shardings.

    Raises:
      Damaged: if there are checkpoints, none of them whole; nothing is deleted.
    """
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
    faults = []
    for step in reversed(self.steps()):
      arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target), about=ocp.args.JsonRestore())
      try:
        restored = self._manager.restore(step, args=arguments)
        if digest(restored.state) == restored.about["digest"]:
          if not self._read_only:
            self._set_aside([newer for newer in self.steps() if newer > step])
          return step, restored.state
        fault = "its contents do not match the digest they were saved with"
      except Exception as error:  # Orbax raises many kinds for a damaged folder; whichever, an older one may be whole
        fault = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
      faults.append(f"step {step} ({fault})")
      logging.warning("checkpoint of step %d is damaged and passed over: %s", step, fault)
    if faults:
      raise Damaged(f"no whole checkpoint is left; damaged: {'; '.join(faults)}. Nothing was deleted: restore the "
                    "folder from a copy, or start in another workdir.")
    return None

  def _set_aside(self, steps: list[int]) -> None:
    aside = self._folder.with_name(self._folder.name + "-damaged")
    for step in steps if is_writer() else []:
      aside.mkdir(exist_ok=True)
      # A second accident at the same step must not overwrite the first.
      place = next(aside / name for name in (f"{step}.{n}" for n in itertools.count()) if not (aside / name).exists())
      shutil.move(self._folder / str(step), place)
    if steps:
      wait("damaged checkpoints are set aside")
      self._manager.reload()


def digest(tree: PyTree) -> str:
  """Returns a SHA-256 of every leaf's path, shape, dtype and bytes."""
  total = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = to_host(leaf)
    total.update(f"{jax.tree_util.keystr(path)}{array.shape}{array.dtype}".encode())
    total.update(np.ascontiguousarray(array).tobytes())
  return total.hexdigest()
