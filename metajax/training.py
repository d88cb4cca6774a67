"""Meta-training: the state, the compiled step, and a loop that knows nothing of what it trains.

The step is the only clock. The tasks and the keys of a step are a function of the seed and the step, the task's
place in the meta-batch, and nothing else; so a checkpoint is `TrainState`, and resuming is exact.
"""

from typing import Any, Callable, Mapping, NamedTuple, Protocol, Sequence

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np
import optax

from metajax.data.sampling import sample_tasks
from metajax.descent import descend
from metajax.sharding import TASKS, over_tasks
from metajax.types import Array, Learner, Metrics, Objective, Params, PRNGKey, PyTree, TaskDistribution


class TrainState(NamedTuple):
  """All that meta-training carries from one step to the next."""
  step: Array  # scalar int32, the number of steps done
  params: Params
  opt_state: optax.OptState


Advance = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]


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
                 num_tasks: int, num_steps: int, key: PRNGKey, mesh: Mesh) -> Advance:
  """Returns the compiled `(state, data) -> (state, metrics)` that does `num_steps` steps in one dispatch.

  A step samples `num_tasks` tasks, each device its share, differentiates the objective, averages the gradient over
  the devices and updates. Metrics are means over the steps and devices; besides the objective's own there is
  `gradient_norm`. The state given is donated.

  Args:
    objective: its `axis_name` must be `sharding.TASKS`.
    optimizer: the outer optimizer.
    tasks: where tasks come from. `data` is given at each call, so that it is not a constant of the program.
    num_tasks: tasks in a meta-batch, over all devices.
    num_steps: steps in a dispatch.
    key: the root key; a step uses `fold_in(key, step)`.
    mesh: the devices, which must divide `num_tasks`.

  Raises:
    ValueError: if the devices do not divide the tasks, or a number is not positive.
  """
  if num_tasks < 1 or num_steps < 1:
    raise ValueError(f"a dispatch needs at least 1 task and 1 step, but got {num_tasks} and {num_steps}.")
  if num_tasks % mesh.size:
    raise ValueError(f"the {num_tasks} tasks of a meta-batch cannot be shared evenly by {mesh.size} devices; use a "
                     f"multiple of {mesh.size}.")
  steps = make_steps(objective, optimizer, tasks, share=num_tasks // mesh.size, num_steps=num_steps)
  return jax.jit(over_tasks(lambda state, data: steps(state, data, key), mesh), donate_argnums=0)


def make_steps(objective: Objective, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *, share: int,
               num_steps: int) -> Callable[[TrainState, PyTree, PRNGKey], tuple[TrainState, Metrics]]:
  """Returns `(state, data, key) -> (state, metrics)`: `num_steps` steps of a run, to be mapped over `TASKS` and jitted.

  Arguments as in `make_advance`; `share` is the number of tasks on each device.
  """

  def step(state: TrainState, data: PyTree, key: PRNGKey) -> tuple[TrainState, Metrics]:
    key_tasks, key_objective = jax.random.split(jax.random.fold_in(key, state.step))
    places = jnp.arange(share, dtype=jnp.int32) + lax.axis_index(TASKS) * share
    episodes = sample_tasks(tasks, tasks.at_step(data, state.step), key_tasks, places)
    gradient, metrics = jax.grad(objective, has_aux=True)(state.params, episodes, key_objective)
    gradient, metrics = lax.pmean((gradient, dict(metrics)), TASKS)
    params, opt_state = descend(optimizer, gradient, state.opt_state, state.params)
    return TrainState(state.step + 1, params, opt_state), {**metrics, "gradient_norm": optax.tree.norm(gradient)}

  def steps(state, data, key):
    if num_steps == 1:  # no loop: XLA:CPU computes the gradients of convolutions well only outside of one
      return step(state, data, key)
    state, metrics = lax.scan(lambda state, _: step(state, data, key), state, length=num_steps)
    return state, jax.tree.map(jnp.mean, metrics)

  return steps


def fit(state: TrainState, tasks: TaskDistribution, advance: Callable[[int], Advance], *, num_steps: int,
        steps_per_dispatch: int, steps_per_row: int, hooks: Sequence[Hook] = ()) -> TrainState:
  """Returns the state after `num_steps` steps in all, having called each hook after each row of steps.

  Args:
    state: where to go on from.
    tasks: the tasks to train on.
    advance: from a number of steps to the compiled function that does them in one dispatch.
    num_steps: the steps to have done in the end, those before `state` included.
    steps_per_dispatch: steps in one dispatch; fewer at the end of a row that it does not divide.
    steps_per_row: steps between two calls of the hooks, and between two transfers of metrics to the host.
    hooks: called in order with the steps done, the state, and the means of the metrics over the row.

  Raises:
    FloatingPointError: if a metric is not finite, before any hook has seen it; it names the steps.
  """
  done = int(state.step)
  while done < num_steps:
    row = min(steps_per_row - done % steps_per_row, num_steps - done)
    metrics: list[Metrics] = []
    weights: list[int] = []
    while sum(weights) < row:
      weights.append(min(steps_per_dispatch, row - sum(weights)))
      state, means = advance(weights[-1])(state, tasks.data)
      metrics.append(means)
    values = {name: float(np.average([means[name] for means in jax.device_get(metrics)], weights=weights))
              for name in metrics[0]}
    broken = [name for name, value in values.items() if not np.isfinite(value)]
    if broken:
      raise FloatingPointError(f"{', '.join(broken)} stopped being finite between steps {done + 1} and {done + row}; "
                               "lower the learning rate, clip the gradient, or look at the tasks of those steps.")
    done += row
    for hook in hooks:
      hook(done, state, values)
  return state
