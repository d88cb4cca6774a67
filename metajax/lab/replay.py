"""One step of a run, done again: its episodes, all that it computed, and what of it is not a number.

Tasks are a function of seed and step, so there is nothing to record: the way starts at the run's newest checkpoint
before the step, or at its beginning. Where the run did many steps in a dispatch, those just before this one are
compiled anew, in a shorter loop, and may round otherwise; so may the step itself where the run's devices share its
state, since it is done here with the state whole on each. Any number of devices and processes can replay a run.
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


def replay(recipe: Recipe, workdir: Path | str, step: int, *, say: Callable[[str], Any] = print) -> Checked:
  """Does the run's step number `step`, counted from 1, again; says what it found, writes `step_<n>.npz`.

  Returns:
    All that the step computed.

  Raises:
    ValueError: if the run has no such step.
    metajax.lab.checkpoints.Damaged: if there are checkpoints before the step, but none is whole.
    metajax.training.faults.NonFinite: if a step before it computes a number that is none.
  """
  workdir, training = Path(workdir), recipe.training
  say = words_of_writer(say)
  if not 1 <= step <= training.steps:
    raise ValueError(f"step {step} is none of this run's; choose one from 1 to {training.steps}.")
  session = open_session(recipe, say=silence, read_ahead=False)
  key, mesh, state, tasks = session.keys.train, session.mesh, session.start(), session.tasks()
  restored = restore(workdir, state, at_most=step - 1)
  advance = session.advance(state, tasks)
  state = state if restored is None else restored.state
  say(f"From step {int(state.step)} to step {step}.")
  state = fit(state, tasks, advance, num_steps=step - 1, steps_per_dispatch=training.steps_per_dispatch,
              steps_per_row=training.steps_per_row)

  share = training.tasks_per_step // mesh.size

  def once(state: TrainState, data):
    places = jnp.arange(share, dtype=jnp.int32) + lax.axis_index(TASKS) * share
    episodes = meta_batch(tasks, data, key, state.step, places)
    alone = jax.vmap(lambda episode: solve(recipe.learner, recipe.loss, {}, state.params, episode, key).loss)(episodes)
    checked = update(recipe.objective, guarded_optimizer(recipe), state, episodes, key)[1]
    return checked, first_fault(checked), lax.all_gather(alone, TASKS, tiled=True)

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
  """Returns what to say of a step: its metrics, the first fault, all faults, and the losses `[T]` task by task."""
  said = ["  ".join(f"{name} {float(value):.4g}" for name, value in checked.metrics.items())
          + f"  gradient_norm {float(checked.norm):.4g}"]
  if fault == FINE:
    said.append("All that it computed is finite.")
  else:
    said.append(f"The first that is not finite: {path_of(fault, checked)}.")
  for path, leaf in jax.tree_util.tree_leaves_with_path(checked):
    bad = int(np.sum(~np.isfinite(np.asarray(leaf)))) if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
    if bad:
      said.append(f"  {jax.tree_util.keystr(path, simple=True, separator='/')}: {bad} of {leaf.size} numbers")
  odd = np.flatnonzero(~np.isfinite(losses))
  if odd.size:
    said.append(f"Tasks whose own loss is not finite, by place: {', '.join(map(str, odd))}.")
  else:
    said.append(f"The greatest loss of a task is {losses.max():.4g}, at place {losses.argmax()}; the median is "
                f"{np.median(losses):.4g}.")
  return said
