"""Meta-training: the state, the compiled step, and a loop that knows nothing of what it trains.

The step is the only clock. The tasks and the keys of a step are a function of the seed and the step, the task's
place in the meta-batch, and nothing else; so a checkpoint is `TrainState`, and resuming is exact. One taken within a
row of metrics holds the row so far, too.
"""

from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Protocol, Sequence

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np
import optax

from metajax.checks import check_integers
from metajax.data.sampling import sample_batch
from metajax.descent import descend
from metajax.faults import FINE, Checked, NonFinite, first_fault, path_of, was_skipped
from metajax.sharding import Mapping as DeviceMapping
from metajax.sharding import TASKS
from metajax.sharding import over_tasks, spread
from metajax.types import Array, Episode, Learner, Metrics, Objective, Params, PRNGKey, PyTree, TaskDistribution
from metajax.workdir import write_arrays


class TrainState(NamedTuple):
  """All that meta-training carries from one step to the next."""
  step: Array  # scalar int32, the number of steps done
  params: Params
  opt_state: optax.OptState


Advance = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]
Row = dict[str, list[float]]  # what each step of a row measured so far, by metric

# Beside the objective's own: the number of a faulty leaf, and whether the update was skipped.
_NORM, FAULT, _SKIPPED = "gradient_norm", "fault", "skipped"
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


def init_state(learner: Learner, optimizer: optax.GradientTransformation, tasks: TaskDistribution, key: PRNGKey
               ) -> TrainState:
  """Returns the state before the first step."""
  key_params, key_task = jax.random.split(key)

  def init(data):
    params = learner.init(key_params, tasks.sample(data, key_task).support.inputs)
    return TrainState(jnp.int32(0), params, optimizer.init(params))

  return jax.jit(init)(tasks.data)


def make_advance(objective: Objective, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *,
                 num_tasks: int, num_steps: int, key: PRNGKey, mesh: Mesh,
                 mapped: DeviceMapping = over_tasks, spread_state: bool = False, data_specs: Any = None) -> Advance:
  """Returns the compiled `(state, data) -> (state, metrics)` that does `num_steps` steps in one dispatch.

  A step samples `num_tasks` tasks, each device its share, differentiates the objective, averages the gradient over
  the devices and updates. Metrics are `[num_steps]`, means over the devices; besides the objective's own there are
  `gradient_norm`, `fault` (`faults.first_fault`) and, if the optimizer can skip an update, `skipped`. The state given
  is donated.

  Args:
    objective: its `axis_name` must be `sharding.TASKS`.
    optimizer: the outer optimizer.
    tasks: where tasks come from. `data` is given at each call, so that it is not a constant of the program.
    num_tasks: tasks in a meta-batch, over all devices.
    num_steps: steps in a dispatch.
    key: the root key; a step uses `fold_in(key, step)`.
    mesh: the devices, of all processes, which must divide `num_tasks`.
    mapped: how a function is mapped over them: `sharding.over_tasks` or `sharding.over_tasks_by_pmap`.
    spread_state: whether the devices share the parameters and the optimizer's state between steps, each holding a part
      of every big array (`sharding.spread`), instead of holding all of it each: for big networks. A step then gathers
      the parameters; whatever the optimizer, the numbers are the same but for rounding.
    data_specs: how the data are shared out between devices, mapped by `sharding.over_tasks`; by default all of them are
      on each.

  Raises:
    ValueError: if the devices do not divide the tasks, or a number is not positive.
  """
  check_integers(num_tasks=num_tasks, num_steps=num_steps)
  if num_tasks < 1 or num_steps < 1:
    raise ValueError(f"a dispatch needs at least 1 task and 1 step, but got {num_tasks} and {num_steps}.")
  if num_tasks % mesh.size:
    raise ValueError(f"the {num_tasks} tasks of a meta-batch cannot be shared evenly by {mesh.size} devices; use a "
                     f"multiple of {mesh.size}.")
  share, whole = num_tasks // mesh.size, PartitionSpec()
  on_devices = lambda function, *specs: mapped(function, mesh) if data_specs is None else over_tasks(
      function, mesh, specs)
  if not spread_state:
    steps = make_steps(objective, optimizer, tasks, share=share, num_steps=num_steps)
    return jax.jit(on_devices(lambda state, data: steps(state, data, key), whole, data_specs), donate_argnums=0)
  by_hand = make_steps(objective, optimizer, tasks, share=share, num_steps=num_steps,
                       around=lambda differentiate: on_devices(differentiate, whole, whole, data_specs, whole))

  def shared_out(state, data):
    # Only the tasks are mapped by hand; the optimizer's arithmetic is left to the partitioner, which knows how to
    # take the norm of something spread.
    state, metrics = by_hand(state, data, key)
    return lax.with_sharding_constraint(state, spread(state, mesh)), metrics

  return jax.jit(shared_out, donate_argnums=0)


def make_steps(objective: Objective, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *, share: int,
               num_steps: int, around: Callable[[Callable], Callable] = lambda differentiate: differentiate
               ) -> Callable[[TrainState, PyTree, PRNGKey], tuple[TrainState, Metrics]]:
  """Returns `(state, data, key) -> (state, metrics)`: `num_steps` steps of a run, to be mapped over `TASKS` and jitted.

  Arguments as in `make_advance`; besides,

  Args:
    share: the number of tasks on each device.
    around: what to put around the part of a step that samples and differentiates, if that alone is to be mapped.
  """

  def differentiate(params: Params, step: Array, data: PyTree, key: PRNGKey) -> tuple[Params, Metrics]:
    places = jnp.arange(share, dtype=jnp.int32) + lax.axis_index(TASKS) * share
    return _differentiate(objective, params, step, sample_batch(tasks, data, key, step, places), key)

  gradient_of = around(differentiate)

  def step(state: TrainState, data: PyTree, key: PRNGKey) -> tuple[TrainState, Metrics]:
    state, checked = _descend(optimizer, state, *gradient_of(state.params, state.step, data, key))
    skipped = was_skipped(state.opt_state)
    extra = {} if skipped is None else {_SKIPPED: skipped.astype(jnp.float32)}
    return state, {**checked.metrics, _NORM: checked.norm, FAULT: first_fault(checked), **extra}

  def steps(state, data, key):
    if num_steps == 1:  # no loop: XLA:CPU computes the gradients of convolutions well only outside of one
      state, metrics = step(state, data, key)
      return state, jax.tree.map(lambda value: value[None], metrics)
    return lax.scan(lambda state, _: step(state, data, key), state, length=num_steps)

  return steps


def write_batch(path: Path, tasks: TaskDistribution, key: PRNGKey, step: int, num_tasks: int) -> None:
  """Writes the meta-batch of a step, counted from 1, as NumPy arrays: `support.inputs [T, N, ...]` and so on."""
  places = jnp.arange(num_tasks, dtype=jnp.int32)
  episodes = jax.jit(lambda data: sample_batch(tasks, data, key, jnp.int32(step - 1), places))(tasks.data)
  write_arrays(path, {jax.tree_util.keystr(place, simple=True, separator="."): np.asarray(leaf)
                      for place, leaf in jax.tree_util.tree_leaves_with_path(episodes)})


def update(objective: Objective, optimizer: optax.GradientTransformation, state: TrainState, episodes: Episode,
           key: PRNGKey) -> tuple[TrainState, Checked]:
  """Returns the state one step on, and all that the step computed. To be called under the axis `sharding.TASKS`.

  Args:
    objective, optimizer: as in `make_advance`.
    state: before the step.
    episodes: the device's share of the meta-batch.
    key: the root key.
  """
  return _descend(optimizer, state, *_differentiate(objective, state.params, state.step, episodes, key))


def _differentiate(objective: Objective, params: Params, step: Array, episodes: Episode, key: PRNGKey
                   ) -> tuple[Params, Metrics]:
  key_objective = jax.random.split(jax.random.fold_in(key, step))[1]
  gradient, metrics = jax.grad(objective, has_aux=True)(params, episodes, key_objective)
  return lax.pmean((gradient, jax.tree.map(jnp.asarray, dict(metrics))), TASKS)


def _descend(optimizer: optax.GradientTransformation, state: TrainState, gradient: Params, metrics: Metrics
             ) -> tuple[TrainState, Checked]:
  params, opt_state = descend(optimizer, gradient, state.opt_state, state.params)
  checked = Checked(metrics, gradient, optax.tree.norm(gradient), opt_state, params)
  return TrainState(state.step + 1, params, opt_state), checked


def fit(state: TrainState, tasks: TaskDistribution, advance: Callable[[int], Advance], *, num_steps: int,
        steps_per_dispatch: int, steps_per_row: int, hooks: Sequence[Hook] = (), row: Row | None = None,
        stop_requested: Callable[[], bool] = lambda: False, feed: Callable[[int, int], PyTree] | None = None
        ) -> TrainState:
  """Returns the state after `num_steps` steps in all, having called each hook after each row of steps.

  Args:
    state: where to go on from.
    tasks: the tasks to train on.
    advance: from a number of steps to the compiled function that does them in one dispatch.
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
    metajax.faults.NonFinite: if a step computed a number that is none, before any hook has seen it.
    Stopped: if a stop was requested. What it holds is finite.
  """
  done, row = int(state.step), {name: list(values) for name, values in (row or {}).items()}
  while done < num_steps:
    first, end = done, min(done - done % steps_per_row + steps_per_row, num_steps)
    waiting: list[Metrics] = []
    while done < end and not stop_requested():
      count = min(steps_per_dispatch, end - done)
      step, data = advance(count), tasks.data if feed is None else feed(done, count)
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


def _check(faults: Sequence[float], done: int, state: TrainState, waiting: Sequence[Metrics]) -> None:
  """Raises `NonFinite` for the first fault in the steps after `done`."""
  for step, number in enumerate(faults, done + 1):
    if number != FINE:
      metrics = {name: value for name, value in waiting[0].items() if name not in (_NORM, FAULT, _SKIPPED)}
      checked = Checked(metrics, state.params, waiting[0][_NORM], state.opt_state, state.params)
      raise NonFinite(step, path_of(int(number), checked))


def _means(row: Row) -> dict[str, float]:
  skipped = np.array(row.get(_SKIPPED, [0.0]), bool)
  counted = {} if _SKIPPED not in row else {_SKIPPED: float(skipped.sum())}
  if skipped.all():
    return counted
  return {name: float(np.mean(np.array(values)[~skipped] if skipped.any() else values))
          for name, values in row.items() if name != _SKIPPED} | counted
