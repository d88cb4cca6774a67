"""What a run would cost: its programs compiled, none of them run."""

import time
from typing import Any, Callable

import jax

from metajax import cost
from metajax.data.host import stores
from metajax.recipe import Recipe, guarded_optimizer, root_keys
from metajax.runs import make_feed, make_program
from metajax.sharding import spread, task_mesh, usable_devices
from metajax.training import AHEAD, init_state


def dry_run(recipe: Recipe, *, say: Callable[[str], Any] = print) -> cost.Cost:
  """Returns the cost of a dispatch of `runs.train` on one device, compiled but not run, and says it; writes nothing."""
  (key_init, key_train, _), training = root_keys(recipe), recipe.training
  steps = min(training.steps_per_dispatch, training.steps_per_row, training.steps)
  mesh = task_mesh(usable_devices(training.tasks_per_step))
  feed = make_feed(recipe, mesh)
  state = jax.eval_shape(lambda: init_state(recipe.learner, guarded_optimizer(recipe), recipe.train_tasks, key_init))
  if training.spread_state:
    state = jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
                         state, spread(state, mesh))
  advance = make_program(recipe, recipe.train_tasks, mesh, key_train, steps, feed)
  data = feed.like(steps) if feed else recipe.train_tasks.data
  start = time.monotonic()
  compiled = advance.lower(state, data).compile()
  say(f"Compiled {steps} step(s) a dispatch in {time.monotonic() - start:.1f} s.")
  lists = {"Validation": recipe.val_tasks, "Test": recipe.test_tasks}
  listed = {name: tasks.data for name, tasks in lists.items() if tasks is not None}
  waiting = AHEAD * cost.size(data.read) if feed else 0  # what was read for dispatches that wait while one runs
  found = cost.measure(advance, state, data, state.params, compiled, beside=waiting + cost.size(listed))
  for sentence in cost.sentences(found, steps, mesh.size):
    say(sentence)
  say(_where("Training", recipe.train_tasks.data, "from where each step fetches its own" if feed is None else
             f"which reads {cost.words(cost.size(data.read))} ahead for each dispatch and device, {feed.way}"))
  for name, lies in listed.items():
    say(_where(name, lies, "from where each episode fetches its own"))
  return found


def _where(name: str, data: Any, read: str) -> str:
  kept = sum(stored.array.nbytes for stored in stores(data))
  return (f"{name} tasks: {cost.words(kept)} of examples stay on the host, {read}." if kept else
          f"{name} tasks: {cost.words(cost.size(data))} of data on each device.")
