"""The cost of a run, estimated by compiling its program without running it."""

import time
from typing import Any, Callable

from metajax.lab import cost
from metajax.lab.recipe import Recipe
from metajax.lab.session import open_session
from metajax.tasks.host import stores
from metajax.training.loop import AHEAD


def dry_run(recipe: Recipe, *, say: Callable[[str], Any] = print) -> cost.Cost:
  """Compiles a dispatch of `lab.run.train` without running it; reports and returns its cost on one device."""
  training = recipe.training
  steps = min(training.steps_per_dispatch, training.steps_per_row, training.steps)
  session = open_session(recipe)
  feed, state, advance = session.feed, session.shapes(), session.program(steps)
  data = feed.like(steps) if feed else recipe.train_tasks.data
  start = time.monotonic()
  compiled = advance.lower(state, data).compile()
  say(f"Compiled {steps} step(s) per dispatch in {time.monotonic() - start:.1f} s.")
  lists = {"Validation": recipe.val_tasks, "Test": recipe.test_tasks}
  listed = {name: tasks.data for name, tasks in lists.items() if tasks is not None}
  waiting = AHEAD * cost.size(data.read) if feed else 0  # the data of queued dispatches
  found = cost.measure(advance, state, data, state.params, compiled, beside=waiting + cost.size(listed))
  for sentence in cost.sentences(found, steps, session.mesh.size):
    say(sentence)
  say(_where("Training", recipe.train_tasks.data, "where each step fetches its own" if feed is None else
             f"which prefetches {cost.words(cost.size(data.read))} per dispatch and device, {feed.way}"))
  for name, arrays in listed.items():
    say(_where(name, arrays, "where each episode fetches its own"))
  return found


def _where(name: str, data: Any, read: str) -> str:
  kept = sum(stored.array.nbytes for stored in stores(data))
  return (f"{name} tasks: {cost.words(kept)} of examples stay on the host, {read}." if kept else
          f"{name} tasks: {cost.words(cost.size(data))} of data on each device.")
