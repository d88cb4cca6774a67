"""The loop: dispatches, rows of metrics, and what is called after each; it knows nothing of what it trains."""

from typing import Any, Callable, Mapping, Protocol, Sequence

import jax
import numpy as np

from metajax.training.faults import FINE, Checked, NonFinite, path_of
from metajax.training.step import FAULT, NORM, SKIPPED, Advance, TrainState
from metajax.types import Metrics, PyTree, TaskDistribution

Row = dict[str, list[float]]  # what each step of a row measured so far, by metric
AHEAD = 2  # dispatches that wait while one runs; more would only delay a stop


class Stopped(Exception):
  """`fit` stopped between two steps because it was asked to; it goes on from `step`, `state` and `row`."""

  def __init__(self, step: int, state: TrainState, row: Row):
    self.step, self.state, self.row = step, state, row
    super().__init__(f"stopped after step {step}.")


class Hook(Protocol):
  """Something to be done after each dispatch, given the steps done so far."""

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, float]) -> Any:
    ...


def fit(state: TrainState, tasks: TaskDistribution, advance: Advance | Callable[[int], Advance], *, num_steps: int,
        steps_per_dispatch: int, steps_per_row: int, hooks: Sequence[Hook] = (), row: Row | None = None,
        stop_requested: Callable[[], bool] = lambda: False, feed: Callable[[int, int], PyTree] | None = None
        ) -> TrainState:
  """Returns the state after `num_steps` steps in all, having called each hook after each row of steps.

  Args:
    state: where to go on from.
    tasks: the tasks to train on.
    advance: the compiled function that does `steps_per_dispatch` steps in one dispatch (`make_advance`), or a function
      from a number of steps to the compiled function that does them.
    num_steps: the steps to have done in the end, those before `state` included.
    steps_per_dispatch: steps in one dispatch; fewer at the end of a row that it does not divide.
    steps_per_row: steps between two calls of the hooks, and between two transfers of metrics to the host.
    hooks: called in order with the steps done, the state, and the means of the metrics over the row. Steps whose update
      was skipped are left out of the means; `skipped` is how many they were.
    row: what the row in which `state` stands has measured, as `Stopped` told it.
    stop_requested: asked before each dispatch. Processes that train together must all get the same answers.
    feed: from the steps done and those of a dispatch to the data that it gets, on the devices, asked in the order of
      the steps; by default `tasks.data`, always.

  Raises:
    ValueError: if there is one compiled function, and a row or the rest of the steps is no multiple of its steps.
    metajax.training.faults.NonFinite: if a step computed a number that is none, before any hook has seen it.
    Stopped: if a stop was requested. What it holds is finite.
  """
  program = _programs(advance, steps_per_dispatch, steps_per_row, num_steps - int(state.step))
  done, row = int(state.step), {name: list(values) for name, values in (row or {}).items()}
  while done < num_steps:
    first, end = done, min(done - done % steps_per_row + steps_per_row, num_steps)
    waiting: list[Metrics] = []
    while done < end and not stop_requested():
      count = min(steps_per_dispatch, end - done)
      step, data = program(count), tasks.data if feed is None else feed(done, count)
      # Everything is on devices; whatever is not would be sent at every step.
      with jax.transfer_guard_host_to_device("disallow"), jax.transfer_guard_device_to_host("disallow"):
        state, metrics = step(state, data)
      waiting.append(metrics)
      done += count
      jax.block_until_ready(waiting[-1 - AHEAD:-AHEAD])
    for measured in jax.device_get(waiting):
      for name, values in measured.items():
        row.setdefault(name, []).extend(np.asarray(values).tolist())
    _check(row.pop(FAULT, []), first, state, waiting)
    if done < end:
      raise Stopped(done, state, row)
    means, row = _means(row), {}
    for hook in hooks:
      hook(done, state, means)
  return state


def _programs(advance: Any, steps_per_dispatch: int, *lengths: int) -> Callable[[int], Advance]:
  """Returns a function from a number of steps to what does them; raises ValueError if there will be none."""
  if not isinstance(advance, (jax.stages.Wrapped, jax.stages.Compiled)):
    return advance
  if any(length % steps_per_dispatch for length in lengths if length > 0):
    raise ValueError(f"one compiled function does {steps_per_dispatch} steps a dispatch, but asked for are rows of "
                     f"{lengths[0]} steps and {lengths[1]} steps in all; give multiples of {steps_per_dispatch}, or a "
                     "function from a number of steps to the compiled function that does them.")
  return lambda count: advance


def _check(faults: Sequence[float], done: int, state: TrainState, waiting: Sequence[Metrics]) -> None:
  """Raises `NonFinite` for the first fault in the steps after `done`."""
  for step, number in enumerate(faults, done + 1):
    if number != FINE:
      metrics = {name: value for name, value in waiting[0].items() if name not in (NORM, FAULT, SKIPPED)}
      checked = Checked(metrics, state.params, waiting[0][NORM], state.opt_state, state.params)
      raise NonFinite(step, path_of(int(number), checked))


def _means(row: Row) -> dict[str, float]:
  skipped = np.array(row.get(SKIPPED, [0.0]), bool)
  counted = {} if SKIPPED not in row else {SKIPPED: float(skipped.sum())}
  if skipped.all():
    return counted
  return {name: float(np.mean(np.array(values)[~skipped] if skipped.any() else values))
          for name, values in row.items() if name != SKIPPED} | counted
