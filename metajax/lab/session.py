"""A session: the keys, the state, the tasks and the compiled programs of a recipe, and how its state is restored.

Runs, several seeds, replays, forks and dry runs all start from a session.
"""

from dataclasses import dataclass, field
from pathlib import Path
import time
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np
import optax

from metajax.lab.checkpoints import Checkpoints, Keep, Restored
from metajax.lab.checkpoints_of_writer import CheckpointsOfWriter, open_checkpoints
from metajax.lab.recipe import Recipe
from metajax.lab.recipe_checks import check_tasks
from metajax.lab.workdir import write_arrays
from metajax.tasks.sampling import meta_batch
from metajax.training.faults import guard
from metajax.training.feed import Feed
from metajax.training.hosts import is_writer, wait
from metajax.training.pipeline import read_shapes
from metajax.training.sharding import over_tasks, over_tasks_by_pmap, replicate, spread, task_mesh, usable_devices
from metajax.training.step import Advance, TrainState, init_state, make_advance
from metajax.types import PRNGKey, TaskDistribution

Say = Callable[[str], Any]


class Keys(NamedTuple):
  """The root keys of a run, each used for one purpose."""
  init: PRNGKey  # of the parameters
  train: PRNGKey  # of the training tasks and all random draws of training
  val: PRNGKey  # of the validation tasks


def root_keys(seed: int) -> Keys:
  """Returns the keys of a run with this seed."""
  return Keys(*jax.random.split(jax.random.key(seed), 3))


def guarded_optimizer(recipe: Recipe) -> optax.GradientTransformation:
  """Returns the optimizer of a recipe, with its settings for clipping and for non-finite gradients."""
  return guard(recipe.optimizer, clip=recipe.training.clip_gradient, skip=recipe.training.skip_nonfinite)


def first_state(recipe: Recipe, key: PRNGKey) -> TrainState:
  """Returns the state before the first step, on the default device."""
  return init_state(recipe.learner, guarded_optimizer(recipe), recipe.train_tasks, key, recipe.objective,
                    recipe.training.tasks_per_step)


@dataclass(frozen=True)
class Session:
  """A recipe, ready to be trained on some devices; see `open_session`."""
  recipe: Recipe
  mesh: Mesh
  keys: Keys
  feed: Feed | None  # the prefetching of training examples, if the recipe has any
  say: Say
  _compiled: dict[int, Advance] = field(default_factory=dict)

  def start(self) -> TrainState:
    """Returns the state before the first step, on the devices."""
    state = replicate(first_state(self.recipe, self.keys.init), self.mesh)
    if self.recipe.training.spread_state:
      state = jax.jit(lambda state: state, out_shardings=spread(state, self.mesh))(state)
    return state

  def shapes(self) -> TrainState:
    """Returns the shapes, dtypes and shardings of the state, without computing it."""
    state = jax.eval_shape(lambda: first_state(self.recipe, self.keys.init))
    if self.recipe.training.spread_state:
      state = jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
                           state, spread(state, self.mesh))
    return state

  def tasks(self) -> TaskDistribution:
    """Returns the training tasks, with their data on the devices."""
    return self.recipe.train_tasks._replace(data=replicate(self.recipe.train_tasks.data, self.mesh))

  def program(self, num_steps: int) -> Any:
    """Returns the jitted `(state, data) -> (state, metrics)` of a dispatch, not compiled yet."""
    training, feed = self.recipe.training, self.feed
    return make_advance(self.recipe.objective, guarded_optimizer(self.recipe),
                        feed.tasks if feed else self.recipe.train_tasks, key=self.keys.train, mesh=self.mesh,
                        num_tasks=training.tasks_per_step, num_steps=num_steps,
                        mapped=over_tasks_by_pmap if training.pmap else over_tasks,
                        spread_state=training.spread_state, data_specs=feed.specs if feed else None)

  def advance(self, state: TrainState, tasks: TaskDistribution) -> Callable[[int], Advance]:
    """Returns a function from a number of steps to the compiled program of one dispatch with these steps.

    A program is compiled on first use, which must happen in every process.
    """

    def compiled(num_steps: int) -> Advance:
      if num_steps not in self._compiled:
        began = time.monotonic()
        data = self.feed.like(num_steps) if self.feed else tasks.data
        self._compiled[num_steps] = self.program(num_steps).lower(state, data).compile()
        self.say(f"Compiled {num_steps} step{'s' if num_steps > 1 else ''} per dispatch in "
                 f"{time.monotonic() - began:.1f} s.")
        wait("compiled")
      return self._compiled[num_steps]

    return compiled

  def close(self) -> None:
    """Ends the prefetching."""
    if self.feed:
      self.feed.close()


def open_session(recipe: Recipe, *, say: Say = print, read_ahead: bool = True) -> Session:
  """Returns a session on the largest number of devices that divides the meta-batch.

  Args:
    recipe: the recipe to train.
    say: called with messages.
    read_ahead: whether to prefetch training tasks if the recipe does so; otherwise each step fetches its own.
  """
  training, keys = recipe.training, root_keys(recipe.seed)
  mesh = task_mesh(usable_devices(training.tasks_per_step))
  feed = None
  if read_ahead and recipe.reading is not None:
    feed = Feed(recipe.train_tasks, keys.train, mesh, num_tasks=training.tasks_per_step, num_steps=training.steps,
                reading=recipe.reading)
  return Session(recipe, mesh, keys, feed, say)


def check(recipe: Recipe) -> None:
  """Traces a recipe's first step, to find errors before a run starts; nothing is compiled, computed or written.

  Raises:
    ValueError: if its parts do not fit each other.
  """
  if recipe.reading is not None and recipe.training.pmap:
    raise ValueError("prefetching needs tasks mapped over devices by shard_map; give "
                     "config.training.pmap=False, or config.examples=host, with which each step fetches its own.")
  if recipe.reading is not None:
    read_shapes(recipe.train_tasks, recipe.training.tasks_per_step)  # this raises if they cannot be read
  check_tasks(recipe)
  session = open_session(recipe, read_ahead=False)
  _, metrics = jax.eval_shape(session.program(1), session.shapes(), recipe.train_tasks.data)
  known = [*metrics, *(f"val_{name}" for name in ("loss", *recipe.scores) if recipe.val_tasks is not None)]
  if recipe.training.patience and not recipe.training.keep_best:
    raise ValueError(f"config.training.patience={recipe.training.patience} needs a metric to watch; give "
                     f"config.training.keep_best, such as -val_loss, one of {', '.join(known)}.")
  if recipe.training.keep_best.removeprefix("-") not in ("", *known):
    raise ValueError(f"config.training.keep_best={recipe.training.keep_best!r} is not measured; choose one of "
                     f"{', '.join(known)}.")


def restore(folder: Path | str, like: TrainState, *, at_most: float = float("inf"), shared: bool = True,
            alone: bool = False) -> Restored | None:
  """Returns the newest intact checkpoint in a workdir, up to a step, or None if there is none; changes no file.

  `shared` tells whether all processes of the run see the same folder, `alone` that only this one restores.

  Raises:
    metajax.lab.checkpoints.Damaged: if there are checkpoints, but none is intact.
  """
  folder = Path(folder) / "checkpoints"
  if shared and not folder.is_dir():
    return None
  with open_checkpoints(folder, read_only=True, shared=shared, alone=alone) as checkpoints:
    return checkpoints.restore(like, at_most=at_most)


def restore_chosen(folder: Path | str, like: TrainState, choice: str, keep_best: str = "", *, shared: bool = True
                   ) -> Restored:
  """Returns a checkpoint of a workdir: the `best` by the metric `keep_best`, the `last` one, or that of a step.

  `shared` tells whether all processes of the run see the same folder.

  Raises:
    ValueError: if there is no such checkpoint, or its parameters have other shapes than `like`.
    metajax.lab.checkpoints.Damaged: if it is damaged or, for the last, if none is intact.
  """
  place = Path(folder) / "checkpoints"
  if shared and not place.is_dir():
    raise ValueError(f"workdir {folder} has no checkpoint yet; train first.")
  with open_checkpoints(place, keep=Keep(best=keep_best), read_only=True, shared=shared) as checkpoints:
    steps = checkpoints.steps()
    if not steps:
      raise ValueError(f"workdir {folder} has no checkpoint yet; train first.")
    if choice == "best" and not keep_best:
      raise ValueError("there is no best checkpoint, because the run does not say by which metric "
                       "(config.training.keep_best); give last, or one of the steps "
                       f"{', '.join(map(str, steps))}.")
    step = checkpoints.best() if choice == "best" else None if choice == "last" else _step_of(choice, steps)
    if choice == "best" and step is None:
      raise ValueError(f"no checkpoint in {folder} has a value of {keep_best.removeprefix('-')} yet; give last.")
    _check_shapes(checkpoints, steps[-1] if step is None else step, like)
    restored = checkpoints.restore(like) if step is None else checkpoints.restore(like, at_least=step, at_most=step)
    assert restored is not None
    return restored


def _check_shapes(checkpoints: Checkpoints | CheckpointsOfWriter, step: int, like: TrainState) -> None:
  """Raises ValueError if the parameters of a checkpoint have other shapes; a damaged one is left to `restore`."""
  try:
    found = checkpoints.shapes(step)
  except Exception:  # of many types, for a damaged folder
    return
  for path, leaf in jax.tree_util.tree_leaves_with_path({"params": like.params}):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if found.get(name) != leaf.shape:
      there = f"is {list(found[name])}" if name in found else "is absent"
      raise ValueError(f"these settings do not fit the trained parameters: {name} would be {list(leaf.shape)}, but "
                       f"{there} in the checkpoint; only settings that leave these shapes alone can be tested.")


def _step_of(choice: str, steps: Sequence[int]) -> int:
  if not choice.isdecimal() or int(choice) not in steps:
    raise ValueError(f"{choice!r} is not a checkpoint; choose best, last, or one of the steps "
                     f"{', '.join(map(str, steps))}.")
  return int(choice)


def write_batch(path: Path, tasks: TaskDistribution, key: PRNGKey, step: int, num_tasks: int) -> None:
  """Writes the meta-batch of a step, counted from 1, as NumPy arrays such as `support.inputs [T, N, ...]`."""
  places = jnp.arange(num_tasks, dtype=jnp.int32)
  batch = jax.jit(lambda data: meta_batch(tasks, data, key, jnp.int32(step - 1), places))(tasks.data)
  write_arrays(path, {jax.tree_util.keystr(place, simple=True, separator="."): np.asarray(leaf)
                      for place, leaf in jax.tree_util.tree_leaves_with_path(batch)})


def words_of_writer(say: Say) -> Say:
  """Returns `say` in the process that writes, and a function that does nothing in all others."""
  return say if is_writer() else silence


def silence(words: str) -> None:
  """Says nothing."""
