"""The training loop: dispatches, rows of metrics, and hooks; independent of what is trained."""

from typing import Any, Callable, Mapping, Protocol, Sequence

import jax
import numpy as np

from metajax.training.faults import FINE, Checked, NonFinite, path_of
from metajax.training.stalled import watching
from metajax.training.step import FAULT, NORM, SKIPPED, Advance, TrainState
from metajax.types import Metrics, PyTree, TaskDistribution

Row = dict[str, list[float]]  # by metric, the values of each step of a row so far
AHEAD = 2  # dispatches queued while one runs; more would only delay a stop


class Stopped(Exception):
  """`fit` stopped between two steps on request; it can be resumed from `step`, `state` and `row`."""

  def __init__(self, step: int, state: TrainState, row: Row):
    self.step, self.state, self.row = step, state, row
    super().__init__(f"stopped after step {step}.")


class Hook(Protocol):
  """A function that is called after each row of steps, with the number of steps done so far."""

  def __call__(self, step: int, state: TrainState, metrics: Mapping[str, float]) -> Any:
    ...


def fit(state: TrainState, tasks: TaskDistribution, advance: Advance | Callable[[int], Advance], *, num_steps: int,
        steps_per_dispatch: int, steps_per_row: int, hooks: Sequence[Hook] = (), row: Row | None = None,
        stop_requested: Callable[[], bool] = lambda: False, feed: Callable[[int, int], PyTree] | None = None
        ) -> TrainState:
  """Trains up to a total of `num_steps` steps, calling each hook after each row of steps, and returns the final state.

  Args:
    state: the state to continue from.
    tasks: the tasks to train on.
    advance: the compiled function that does `steps_per_dispatch` steps in one dispatch (`make_advance`), or a function
      that maps a number of steps to such a compiled function.
    num_steps: the total number of steps, including those already done in `state`.
    steps_per_dispatch: steps in one dispatch; the last dispatch of a row may have fewer.
    steps_per_row: steps between two calls of the hooks, and between two transfers of metrics to the host.
    hooks: called in order with the number of steps done, the state, and the means of the metrics over the row. Steps
      whose update was skipped are left out of the means; the metric `skipped` counts them.
    row: the metrics of an unfinished row, as given by `Stopped`.
    stop_requested: called before each dispatch. Processes that train together must all get the same answers.
    feed: maps the number of steps done and the steps of a dispatch to the data of that dispatch, on the devices. It is
      called in the order of the steps. By default the data is always `tasks.data`.

  Raises:
    ValueError: if there is a single compiled function, and the length of a row or the number of remaining steps is not
      a multiple of its steps.
    metajax.training.faults.NonFinite: if a step computed a non-finite value; hooks are not called for its row.
    Stopped: if a stop was requested. Its contents are finite.
  """
  program = _programs(advance, steps_per_dispatch, steps_per_row, num_steps - int(state.step))
  done, row = int(state.step), {name: list(values) for name, values in (row or {}).items()}
  with watching() as wait:
    while done < num_steps:
      first, end = done, min(done - done % steps_per_row + steps_per_row, num_steps)
      waiting: list[Metrics] = []
      while done < end and not stop_requested():
        count = min(steps_per_dispatch, end - done)
        step, data = program(count), tasks.data if feed is None else feed(done, count)
        # Everything must be on the devices already; host arrays would be transferred at every step.
        with jax.transfer_guard_host_to_device("disallow"), jax.transfer_guard_device_to_host("disallow"):
          state, metrics = step(state, data)
        waiting.append(metrics)
        done += count
        with wait():
          jax.block_until_ready(waiting[-1 - AHEAD:-AHEAD])
      with wait():
        fetched = jax.device_get(waiting)
      for measured in fetched:
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
  """Returns a function from a number of steps to a compiled function; raises ValueError if a number has none."""
  if not isinstance(advance, (jax.stages.Wrapped, jax.stages.Compiled)):
    return advance
  if any(length % steps_per_dispatch for length in lengths if length > 0):
    raise ValueError(f"the compiled function does {steps_per_dispatch} steps per dispatch, which must divide the rows "
                     f"of {lengths[0]} steps and the {lengths[1]} remaining steps; give multiples of "
                     f"{steps_per_dispatch}, or a function from a number of steps to a compiled function.")
  return lambda count: advance


def _check(faults: Sequence[float], done: int, state: TrainState, waiting: Sequence[Metrics]) -> None:
  """Raises `NonFinite` for the first non-finite value in the steps after `done`."""
  for step, number in enumerate(faults, done + 1):
    if number != FINE:
      metrics = {name: value for name, value in waiting[0].items() if name not in (NORM, FAULT, SKIPPED)}
      checked = Checked(metrics, state.params, waiting[0][NORM], state.opt_state, state.params)
      raise NonFinite(step, path_of(int(number), checked))


def _means(row: Row) -> dict[str, float]:
  skipped = np.array(row.get(SKIPPED, [0.0]), bool)
  count = {} if SKIPPED not in row else {SKIPPED: float(skipped.sum())}
  if skipped.all():
    return count
  return {name: float(np.mean(np.array(values)[~skipped] if skipped.any() else values))
          for name, values in row.items() if name != SKIPPED} | count
