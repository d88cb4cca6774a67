"""Checkpoints: Orbax, plus a digest of each checkpoint and a fallback to the newest intact one.

Orbax silently restores flipped bits, mistakes a stray empty folder for the latest step, and reports a declined save (at
or below the latest step) only by its return value. Hence the digest, the fallback, and the check of the return value.
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
  """There are checkpoints, but none of them is intact."""


class Unsaved(Exception):
  """A checkpoint could not be written; earlier ones are unchanged."""


class Keep(NamedTuple):
  """Which checkpoints are kept: all that at least one of the rules keeps."""
  newest: int = 2  # the number of newest checkpoints to keep
  every: int = 0  # keep those whose step is a multiple of this; 0: none
  best: str = ""  # keep the one with the largest value of this metric or, with a leading minus, the smallest


class Restored(NamedTuple):
  """An intact checkpoint."""
  step: int
  state: PyTree
  notes: PyTree  # as given to `save`


class Checkpoints:
  """The checkpoints of one run, in their own folder. A context manager; leaving it waits for the last save."""

  def __init__(self, folder: Path | str, *, keep: Keep = Keep(), read_only: bool = False, alone: bool = False):
    """Opens or creates the folder.

    With `read_only`, the folder must exist and is not changed: another process may be saving to it. If a process does
    this `alone`, without the others of its run, states must be of arrays that it has as a whole.

    Raises:
      ValueError: if `keep` does not keep the newest.
    """
    if keep.newest < 1 or keep.every < 0:
      raise ValueError(f"at least the newest checkpoint is kept, but got {keep}; give newest=1 or more and every=0 or "
                       "more.")
    sign, metric = (-1.0 if keep.best.startswith("-") else 1.0), keep.best.removeprefix("-")
    # A checkpoint without the metric, such as one saved on preemption, counts as the worst.
    value = lambda metrics: sign * (metrics or {}).get(metric, -sign * math.inf)
    rules: list[Any] = [policies.LatestN(keep.newest)]
    rules += [policies.EveryNSteps(keep.every)] if keep.every else []
    best = policies.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False)
    rules += [best] if keep.best else []
    # Orbax's own read_only does the same, but prints five warnings. Without best_fn it would not keep the metrics.
    me = jax.process_index()
    processes = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    ) if alone else ocp.options.MultiprocessingOptions()
    options = ocp.CheckpointManagerOptions(
        multiprocessing_options=processes, create=not alone and not read_only, cleanup_tmp_directories=not read_only,
        best_fn=value if keep.best else None,
        save_decision_policy=policies.FixedIntervalPolicy(1), preservation_policy=policies.AnyPreservationPolicy(rules),
        # If folders are created in the background and that fails, threads wait for them for minutes and keep the
        # process from exiting.
        async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False))
    self._folder = Path(folder).absolute()
    self._read_only, self._alone = read_only, alone
    self._saving: int | None = None
    self._value: Callable[[Mapping[str, float]], float] | None = value if keep.best else None
    if alone and not read_only:  # Orbax creates folders only for all processes
      self._folder.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(self._folder, options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind: Any, *error: Any) -> None:
    try:
      self.wait()
    except Unsaved:
      if kind is None:  # otherwise the first error is raised
        raise
    finally:
      self._manager.close()

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint, intact or not, oldest first."""
    return sorted(self._manager.all_steps())

  def best(self) -> int | None:
    """Returns the step with the best value of the metric that `keep` names, the newest of equals, or None."""
    values: list[tuple[float, int]] = []
    if self._value is None:
      return None
    for step in self.steps():
      try:
        about = self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore())).about
        values.append((self._value(about["metrics"]), step))
      except Exception:  # of many types, for a damaged folder
        continue
    value, step = max(values, default=(-math.inf, 0))
    return step if value > -math.inf else None

  def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays of a checkpoint by path, such as `params/kernel`; the arrays are not read."""
    about: Any = ocp.StandardCheckpointHandler().metadata(self._folder / str(step) / "state")
    has_shape = lambda leaf: hasattr(leaf, "shape")
    leaves = jax.tree_util.tree_leaves_with_path(getattr(about, "tree", about), is_leaf=has_shape)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}

  def save(self, step: int, state: PyTree, metrics: Mapping[str, float] | None = None, notes: PyTree = None) -> None:
    """Saves the state of a step in the background; its arrays may be donated immediately.

    Args:
      step: the number of steps done.
      state: the state to save.
      metrics: the metrics of the state.
      notes: anything that can be stored as JSON.

    Raises:
      ValueError: if Orbax declines the save, as it does for a step at or below the newest.
      Unsaved: if this checkpoint, or the previous one that was still being written, could not be written.
    """
    self.check()
    measured = {name: float(value) for name, value in (metrics or {}).items()}
    # The notes are stored as text with their own digest, so that a flipped bit in them is detected too.
    text = json.dumps(notes)
    about = {"digest": digest(state), "metrics": measured, "notes": text, "notes_digest": _digest_of(text)}
    arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about))
    self.wait()
    self._saving = step
    if not self._written(lambda: self._manager.save(step, args=arguments, metrics=measured)):
      raise ValueError(f"step {step} was not saved: there is a checkpoint of step {self._manager.latest_step()} "
                       "already; remove it, or save to another folder.")

  def wait(self) -> None:
    """Waits until the last save is complete on disk; raises Unsaved if it failed."""
    self._written(self._manager.wait_until_finished)

  def check(self) -> None:
    """Raises Unsaved if a save in the background has failed; does not wait."""
    self._written(self._manager.check_for_errors)

  def restore(self, like: PyTree, *, at_most: float = math.inf, at_least: float = 0) -> Restored | None:
    """Returns the newest intact checkpoint, or None if there is no checkpoint.

    Unless `read_only`, newer damaged ones are moved to the folder `<folder>-damaged`, so that their steps can be saved
    again.

    Args:
      like: a state with the same structure, shapes, dtypes and shardings; NumPy arrays are restored as such.
      at_most, at_least: ignore checkpoints of later and of earlier steps; for readers only.

    Raises:
      Damaged: if there are checkpoints but none is intact; nothing is deleted.
    """
    target = jax.tree.map(_described, like)
    faults = []
    for step in [step for step in reversed(self.steps()) if at_least <= step <= at_most]:
      arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target), about=ocp.args.JsonRestore())
      try:
        restored = self._manager.restore(step, args=arguments)
        about = restored.about
        if digest(restored.state) == about["digest"] and _digest_of(about["notes"]) == about["notes_digest"]:
          if not self._read_only:
            self._set_aside([newer for newer in self.steps() if newer > step])
          return Restored(step, restored.state, json.loads(about["notes"]))
        fault = "its contents do not match the digest they were saved with"
      except Exception as error:  # Orbax raises many types for a damaged folder; an older one may be intact
        fault = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
      faults.append(f"step {step} ({fault})")
      logging.warning("checkpoint of step %d is damaged and skipped: %s", step, fault)
    if faults:
      raise Damaged(f"no intact checkpoint is left; damaged: {'; '.join(faults)}. Nothing was deleted: restore the "
                    "folder from a copy, or start in another workdir.")
    return None

  def _written(self, action: Callable[[], T]) -> T:
    """Runs a write of Orbax; raises Unsaved if it, or an earlier one in the background, failed."""
    try:
      return action()
    except Exception as error:  # of many types, some from other threads and from C++
      reason = str(error).splitlines()[0] if str(error) else type(error).__name__
      raise Unsaved(f"the checkpoint of step {self._saving} could not be written ({reason}); earlier ones are "
                    "unchanged. Check that the disk has space and the folder is writable, then give the same command "
                    "again.") from error

  def _set_aside(self, steps: list[int]) -> None:
    aside = self._folder.with_name(self._folder.name + "-damaged")
    for step in steps if is_writer() or self._alone else []:
      aside.mkdir(exist_ok=True)
      # A second damaged checkpoint of the same step must not overwrite the first.
      target = next(aside / name for name in (f"{step}.{n}" for n in itertools.count()) if not (aside / name).exists())
      shutil.move(self._folder / str(step), target)
    if steps and not self._alone:
      wait("damaged checkpoints are set aside")
    if steps:
      self._manager.reload()


def _described(leaf: Any) -> Any:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) if hasattr(leaf, "sharding") else leaf


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
