"""Replays one step of a run: its episodes, everything it computed, and which values are non-finite.

Tasks are a function of seed and step, so nothing needs to be recorded: replay starts from the newest checkpoint before
the step, or from the beginning. Any number of devices and processes can replay a run. Results may differ by rounding in
two cases: if the run did many steps per dispatch, the last steps before this one are compiled anew in a shorter loop;
and if the run sharded its state, this step is computed with the state replicated.
"""

from pathlib import Path
from typing import Any, Callable

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from metajax.lab.recipe import Recipe
from metajax.lab.session import guarded_optimizer, open_session, restore, silence, words_of_writer, write_batch
from metajax.objectives.solve import solve
from metajax.tasks.sampling import meta_batch
from metajax.training.faults import FINE, Checked, first_fault, path_of
from metajax.training.hosts import is_writer, wait
from metajax.training.loop import fit
from metajax.training.sharding import TASKS, over_tasks, over_tasks_by_pmap
from metajax.training.step import TrainState, update


def replay(recipe: Recipe, workdir: Path | str, step: int, *, say: Callable[[str], Any] = print, shared: bool = True
           ) -> Checked:
  """Repeats step number `step` of a run, counted from 1; reports what it found, and writes `step_<n>.npz`.

  `shared` tells whether all processes of the run see the same folder.

  Returns:
    Everything that the step computed.

  Raises:
    ValueError: if the run has no such step.
    metajax.lab.checkpoints.Damaged: if there are checkpoints before the step, but none is intact.
    metajax.training.faults.NonFinite: if an earlier step computes a non-finite value.
  """
  workdir, training = Path(workdir), recipe.training
  say = words_of_writer(say)
  if not 1 <= step <= training.steps:
    raise ValueError(f"step {step} is not a step of this run; choose one from 1 to {training.steps}.")
  session = open_session(recipe, say=silence, read_ahead=False)
  key, mesh, state, tasks = session.keys.train, session.mesh, session.start(), session.tasks()
  restored = restore(workdir, state, at_most=step - 1, shared=shared)
  advance = session.advance(state, tasks)
  state = state if restored is None else restored.state
  say(f"From step {int(state.step)} to step {step}.")
  state = fit(state, tasks, advance, num_steps=step - 1, steps_per_dispatch=training.steps_per_dispatch,
              steps_per_row=training.steps_per_row)

  per_device = training.tasks_per_step // mesh.size

  def once(state: TrainState, data):
    indices = jnp.arange(per_device, dtype=jnp.int32) + lax.axis_index(TASKS) * per_device
    episodes = meta_batch(tasks, data, key, state.step, indices)
    losses = jax.vmap(lambda episode: solve(recipe.learner, recipe.loss, {}, state.params, episode, key).loss)(episodes)
    checked = update(recipe.objective, guarded_optimizer(recipe), state, episodes, key)[1]
    return checked, first_fault(checked), lax.all_gather(losses, TASKS, tiled=True)

  mapped = over_tasks_by_pmap if training.pmap else over_tasks
  compiled = jax.jit(mapped(once, mesh)).lower(state, tasks.data).compile()
  wait("compiled")
  checked, fault, losses = compiled(state, tasks.data)
  if is_writer():
    write_batch(workdir / f"step_{step}.npz", recipe.train_tasks, key, step, training.tasks_per_step)
  for sentence in _sentences(checked, int(fault), np.asarray(losses)):
    say(sentence)
  say(f"Its episodes are in {workdir / f'step_{step}.npz'}.")
  return checked


def _sentences(checked: Checked, fault: int, losses: np.ndarray) -> list[str]:
  """Returns sentences on a step: its metrics, the first non-finite leaf, all of them, and the losses `[T]` by task."""
  said = ["  ".join(f"{name} {float(value):.4g}" for name, value in checked.metrics.items())
          + f"  gradient_norm {float(checked.norm):.4g}"]
  if fault == FINE:
    said.append("All values that it computed are finite.")
  else:
    said.append(f"The first non-finite array: {path_of(fault, checked)}.")
  for path, leaf in jax.tree_util.tree_leaves_with_path(checked):
    bad = int(np.sum(~np.isfinite(np.asarray(leaf)))) if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
    if bad:
      said.append(f"  {jax.tree_util.keystr(path, simple=True, separator='/')}: {bad} of {leaf.size} values")
  diverged = np.flatnonzero(~np.isfinite(losses))
  if diverged.size:
    said.append(f"Indices of tasks with a non-finite loss: {', '.join(map(str, diverged))}.")
  else:
    said.append(f"The largest loss of a task is {losses.max():.4g}, at index {losses.argmax()}; the median is "
                f"{np.median(losses):.4g}.")
  return said
