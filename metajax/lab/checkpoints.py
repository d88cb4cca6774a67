"""Checkpoints: Orbax, with a digest of every one and a way back to the newest that is whole.

Orbax restores flipped bits without a word, takes a stray empty folder for the latest step, and declines a save at or
below the latest step by a return value alone. Hence the digest, the fallback, and the check of the return.
"""

import hashlib
import itertools
import json
import logging
import math
from pathlib import Path
import shutil
from typing import Any, Callable, Mapping, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from metajax.training.hosts import is_writer, to_host, wait
from metajax.types import PyTree

T = TypeVar("T")


class Damaged(Exception):
  """There are checkpoints, and not one of them is whole."""


class Unsaved(Exception):
  """A checkpoint could not be written; those before it are as they were."""


class Keep(NamedTuple):
  """Which checkpoints stay: whatever one of the rules keeps."""
  newest: int = 2
  every: int = 0  # those of steps that this divides; 0: none
  best: str = ""  # a metric, by which the one with the greatest is kept; of `-loss`, with the smallest


class Restored(NamedTuple):
  """A whole checkpoint."""
  step: int
  state: PyTree
  notes: PyTree  # as given to `save`


class Checkpoints:
  """The checkpoints of one run, in a folder of their own. A context manager; leaving it waits for the last save."""

  def __init__(self, folder: Path | str, *, keep: Keep = Keep(), read_only: bool = False):
    """Opens or creates the folder.

    With `read_only` the folder must exist, and nothing in it changes: another process may be saving to it.

    Raises:
      ValueError: if `keep` does not keep the newest.
    """
    if keep.newest < 1 or keep.every < 0:
      raise ValueError(f"at least the newest checkpoint is kept, but got {keep}.")
    sign, metric = (-1.0 if keep.best.startswith("-") else 1.0), keep.best.removeprefix("-")
    # One that has not measured it, as those saved on preemption, is the worst.
    value = lambda metrics: sign * (metrics or {}).get(metric, -sign * math.inf)
    rules: list[Any] = [policies.LatestN(keep.newest)]
    rules += [policies.EveryNSteps(keep.every)] if keep.every else []
    best = policies.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False)
    rules += [best] if keep.best else []
    # Orbax's own read_only does the same with five lines of warnings. Without best_fn it would forget the metrics.
    options = ocp.CheckpointManagerOptions(
        create=not read_only, cleanup_tmp_directories=not read_only, best_fn=value if keep.best else None,
        save_decision_policy=policies.FixedIntervalPolicy(1), preservation_policy=policies.AnyPreservationPolicy(rules),
        # Folders made in the background that cannot be made leave threads which wait for them for minutes, and with
        # them the process, on its way out.
        async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False))
    self._folder = Path(folder).absolute()
    self._read_only = read_only
    self._saving: int | None = None
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind: Any, *error: Any) -> None:
    try:
      self.wait()
    except Unsaved:
      if kind is None:  # otherwise the first fault is the one to tell of
        raise
    finally:
      self._manager.close()

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint, whole or not, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: PyTree, metrics: Mapping[str, float] | None = None, notes: PyTree = None) -> None:
    """Saves the state of a step, in the background; the arrays may be donated at once.

    Args:
      step: the number of steps done.
      state: what to save.
      metrics: what was measured of it.
      notes: whatever JSON can hold.

    Raises:
      ValueError: if Orbax declines it, as it does for a step at or below the newest.
      Unsaved: if this one, or the one before it, which was still being written, could not be.
    """
    self.check()
    measured = {name: float(value) for name, value in (metrics or {}).items()}
    # The notes as text of their own, so that a flipped bit in them is seen, too.
    text = json.dumps(notes)
    about = {"digest": digest(state), "metrics": measured, "notes": text, "notes_digest": _digest_of(text)}
    arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about))
    self.wait()
    self._saving = step
    if not self._written(lambda: self._manager.save(step, args=arguments, metrics=measured)):
      raise ValueError(f"step {step} was not saved: there is a checkpoint of step {self._manager.latest_step()} "
                       "already; remove it, or save to another folder.")

  def wait(self) -> None:
    """Waits for the last save to be whole on disk; raises Unsaved if it cannot be."""
    self._written(self._manager.wait_until_finished)

  def check(self) -> None:
    """Raises Unsaved if a save in the background has failed; does not wait for one that has not."""
    self._written(self._manager.check_for_errors)

  def restore(self, like: PyTree, *, at_most: float = math.inf) -> Restored | None:
    """Returns the newest whole checkpoint, or None if there never was one.

    Damaged ones that are newer are moved to the folder `<folder>-damaged`, to make way for the steps to come, unless
    `read_only`.

    Args:
      like: a state of the same structure, shapes, dtypes and shardings.
      at_most: the last step of interest; a reader's, since what is newer than it is no concern of a run.

    Raises:
      Damaged: if there are checkpoints, none of them whole; nothing is deleted.
    """
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
    faults = []
    for step in [step for step in reversed(self.steps()) if step <= at_most]:
      arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target), about=ocp.args.JsonRestore())
      try:
        restored = self._manager.restore(step, args=arguments)
        about = restored.about
        if digest(restored.state) == about["digest"] and _digest_of(about["notes"]) == about["notes_digest"]:
          if not self._read_only:
            self._set_aside([newer for newer in self.steps() if newer > step])
          return Restored(step, restored.state, json.loads(about["notes"]))
        fault = "its contents do not match the digest they were saved with"
      except Exception as error:  # Orbax raises many kinds for a damaged folder; whichever, an older one may be whole
        fault = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
      faults.append(f"step {step} ({fault})")
      logging.warning("checkpoint of step %d is damaged and passed over: %s", step, fault)
    if faults:
      raise Damaged(f"no whole checkpoint is left; damaged: {'; '.join(faults)}. Nothing was deleted: restore the "
                    "folder from a copy, or start in another workdir.")
    return None

  def _written(self, action: Callable[[], T]) -> T:
    """Returns what an action of Orbax's returns that writes, or tells of what an earlier one could not write."""
    try:
      return action()
    except Exception as error:  # of many kinds, some of them from another thread and another language
      reason = str(error).splitlines()[0] if str(error) else type(error).__name__
      raise Unsaved(f"the checkpoint of step {self._saving} could not be written ({reason}); those before it are as "
                    "they were. See that there is room and that the folder may be written, and give the same command "
                    "again.") from error

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


def _digest_of(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()


def digest(tree: PyTree) -> str:
  """Returns a SHA-256 of every leaf's path, shape, dtype and bytes."""
  total = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = to_host(leaf)
    total.update(f"{jax.tree_util.keystr(path)}{array.shape}{array.dtype}".encode())
    total.update(np.ascontiguousarray(array).tobytes())
  return total.hexdigest()
