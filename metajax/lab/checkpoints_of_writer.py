"""Checkpoints of a run whose processes do not see the same folder: the writer keeps them for all.

The whole state passes through the memory of each process when it is saved or restored.
"""

import math
from pathlib import Path
from typing import Any, Callable, Mapping

import jax
from jax.experimental import multihost_utils
import numpy as np

from metajax.lab.checkpoints import Checkpoints, Damaged, Keep, Restored
from metajax.training.hosts import is_writer, of_writer, to_host
from metajax.types import PyTree


def open_checkpoints(folder: Path | str, *, keep: Keep = Keep(), read_only: bool = False, shared: bool = True,
                     alone: bool = False) -> "Checkpoints | CheckpointsOfWriter":
  """Opens the checkpoints of a run.

  Args:
    folder, keep, read_only, alone: as for `Checkpoints`.
    shared: whether all processes of the run see the same folder.
  """
  if shared or alone or jax.process_count() == 1:
    return Checkpoints(folder, keep=keep, read_only=read_only, alone=alone)
  return CheckpointsOfWriter(Path(folder), keep, read_only)


class CheckpointsOfWriter:
  """As `Checkpoints`, in the writer's folder. Every process must call every method."""

  def __init__(self, folder: Path, keep: Keep, read_only: bool):
    absent = read_only and not folder.is_dir()
    self._own = Checkpoints(folder, keep=keep, read_only=read_only, alone=True) if is_writer() and not absent else None

  def __enter__(self) -> "CheckpointsOfWriter":
    return self

  def __exit__(self, *error: Any) -> None:
    if self._own:
      self._own.__exit__(*error)

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint."""
    return self._asked(lambda own: own.steps()) or []

  def best(self) -> int | None:
    """Returns the step of the best checkpoint."""
    return self._asked(lambda own: own.best())

  def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays of a checkpoint."""
    return {name: tuple(shape) for name, shape in (self._asked(lambda own: own.shapes(step)) or {}).items()}

  def save(self, step: int, state: PyTree, metrics: Mapping[str, float] | None = None, notes: PyTree = None) -> None:
    """Saves the state of a step.

    Raises:
      ValueError: if the state has a random key, which has no NumPy form.
    """
    if any(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
      raise ValueError("the state has a random key, which cannot be saved by a run in a bucket with several processes; "
                       "keep jax.random.key_data of it instead.")
    whole = to_host(state)
    if self._own:
      self._own.save(step, whole, metrics, notes)

  def wait(self) -> None:
    """Waits until the last save is complete."""
    if self._own:
      self._own.wait()

  def check(self) -> None:
    """Raises Unsaved, in the writer, if a save has failed."""
    if self._own:
      self._own.check()

  def restore(self, like: PyTree, *, at_most: float = math.inf, at_least: float = 0) -> Restored | None:
    """Returns the newest intact checkpoint, on the devices of `like`."""
    found: list[Restored] = []

    def restored(own: Checkpoints) -> Any:
      hosts = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
      one = own.restore(hosts, at_most=at_most, at_least=at_least)
      found.extend([one] if one else [])
      return {"step": one.step, "notes": one.notes} if one else None

    about = self._asked(restored)
    if about is None:
      return None
    own = found[0].state if found else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    state = jax.tree.map(_placed, multihost_utils.broadcast_one_to_all(own), like)
    return Restored(about["step"], state, about["notes"])

  def _asked(self, question: Callable[[Checkpoints], Any]) -> Any:
    """Returns the writer's answer, or None if it has no folder; raises its error."""
    answer: Any = None
    try:
      answer = {"is": question(self._own)} if self._own else {"is": None}
    except Exception as error:  # is raised in all processes
      answer = {"damaged": isinstance(error, Damaged), "error": str(error)}
    answer = of_writer(answer)
    if "error" in answer:
      raise (Damaged if answer["damaged"] else ValueError)(answer["error"])
    return answer["is"]


def _placed(whole: Any, like: jax.Array) -> jax.Array:
  array = np.asarray(whole).astype(like.dtype)
  return jax.make_array_from_callback(like.shape, like.sharding, lambda index: array[index])
