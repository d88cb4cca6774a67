"""The compiled step of meta-training: tasks are drawn, a gradient is estimated and averaged, the optimizer updates.

The step is the only clock. The tasks and the keys of a step are a function of the seed, the step and the task's place
in the meta-batch, and of nothing else; so a checkpoint is a `TrainState`, and resuming is exact.
"""

from typing import Any, Callable, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import optax

from metajax.checks import check_integers
from metajax.descent import descend
from metajax.estimators import differentiate
from metajax.tasks.sampling import meta_batch
from metajax.training.faults import Checked, first_fault, was_skipped
from metajax.training.sharding import Mapping as DeviceMapping
from metajax.training.sharding import TASKS
from metajax.training.sharding import over_tasks, over_tasks_by_pmap, spread
from metajax.types import (Array, Estimator, Learner, Metrics, Objective, Params, PRNGKey, PyTree, TaskDistribution,
                           Trainable)


class TrainState(NamedTuple):
  """All that meta-training carries from one step to the next."""
  step: Array  # scalar int32, the number of steps done
  params: Params
  opt_state: optax.OptState
  carry: PyTree = ()  # the estimator's, every leaf [T, ...]


Advance = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]

# Metrics beside the objective's own: the number of a faulty leaf, and whether the update was skipped.
NORM, FAULT, SKIPPED = "gradient_norm", "fault", "skipped"

# The carry is sharded over devices as tasks are; the rest of the state is replicated.
_WHOLE: Any = PartitionSpec()
_STATE = TrainState(_WHOLE, _WHOLE, _WHOLE, PartitionSpec(TASKS))


def init_state(learner: Learner | Callable[[PRNGKey, PyTree], Params], optimizer: optax.GradientTransformation,
               tasks: TaskDistribution, key: PRNGKey, objective: Trainable | None = None, num_tasks: int = 0
               ) -> TrainState:
  """Returns the state before the first step.

  Args:
    learner: whose parameters are initialised, or its `init`.
    optimizer: the outer optimizer.
    tasks: one of which the parameters are initialised for.
    key: for the parameters, the task, and the carry of an estimator.
    objective: what is trained with, if that is an estimator with something to carry.
    num_tasks: `T`, tasks in a meta-batch over all devices; needed for such an estimator.
  """
  key_params, key_task = jax.random.split(key)
  make = learner.init if isinstance(learner, Learner) else learner

  def init(data):
    params = make(key_params, tasks.example(tasks.sample(data, key_task)))
    carry: PyTree = ()
    if isinstance(objective, Estimator):
      batch = meta_batch(tasks, data, key_task, jnp.int32(0), jnp.arange(num_tasks, dtype=jnp.int32))
      carry = objective.init(params, batch, jax.random.fold_in(key_params, 1))
    return TrainState(jnp.int32(0), params, optimizer.init(params), carry)

  return jax.jit(init)(tasks.data)


def make_advance(objective: Trainable, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *,
                 num_tasks: int, num_steps: int, key: PRNGKey, mesh: Mesh,
                 mapped: DeviceMapping = over_tasks, spread_state: bool = False, data_specs: Any = None) -> Advance:
  """Returns the compiled `(state, data) -> (state, metrics)` that does `num_steps` steps in one dispatch.

  A step samples `num_tasks` tasks, each device its share, estimates the gradient, averages it over the devices and
  updates. Metrics are `[num_steps]`, means over the devices; besides the objective's own there are `gradient_norm`,
  `fault` (`faults.first_fault`) and, if the optimizer can skip an update, `skipped`. The state given is donated.

  Args:
    objective: an objective, which is differentiated, or an estimator. A function `(params, tasks, key) -> (loss,
      metrics)` that is no `Objective` is taken on one device only.
    optimizer: the outer optimizer.
    tasks: where tasks come from. `data` is given at each call, so that it is not a constant of the program.
    num_tasks: tasks in a meta-batch, over all devices.
    num_steps: steps in a dispatch.
    key: the root key; a step uses `fold_in(key, step)`.
    mesh: the devices, of all processes, which must divide `num_tasks`.
    mapped: how a function is mapped over them: `sharding.over_tasks` or `sharding.over_tasks_by_pmap`.
    spread_state: whether the parameters and the optimizer's state are sharded between steps, each device holding a part
      of every large array (`sharding.spread`): for large networks. A step then gathers the parameters; the results are
      the same up to rounding, whatever the optimizer.
    data_specs: how the data are sharded, mapped by `sharding.over_tasks`; by default they are replicated.

  Raises:
    ValueError: if the devices do not divide the tasks, a number is not positive, tasks are mapped by `pmap` for an
      estimator, or an objective does not say how it is taken over several devices.
  """
  check_integers(num_tasks=num_tasks, num_steps=num_steps)
  if num_tasks < 1 or num_steps < 1:
    raise ValueError(f"a dispatch needs at least 1 task and 1 step, but got {num_tasks} and {num_steps}.")
  if num_tasks % mesh.size:
    raise ValueError(f"the {num_tasks} tasks of a meta-batch cannot be shared evenly by {mesh.size} devices; use a "
                     f"multiple of {mesh.size}.")
  carries = isinstance(objective, Estimator)
  if carries and mapped is over_tasks_by_pmap:
    raise ValueError("an estimator's carry is sharded over devices, which pmap cannot do here; map tasks by "
                     "sharding.over_tasks.")
  if mesh.size > 1 and not isinstance(objective, (Objective, Estimator)):
    raise ValueError(f"the objective is a function that does not know of the {mesh.size} devices its tasks are spread "
                     "over; give metajax.Objective(lambda params, tasks, key, axis_name: ...), which is right as it "
                     "stands if its loss is a mean over tasks, or train on one device.")
  share, whole = num_tasks // mesh.size, PartitionSpec()

  def on_devices(function, in_specs, out_specs):
    if data_specs is None and not carries:
      return mapped(function, mesh)
    return over_tasks(function, mesh, in_specs, out_specs)

  data = whole if data_specs is None else data_specs
  if not spread_state:
    steps = make_steps(objective, optimizer, tasks, share=share, num_steps=num_steps)
    return jax.jit(on_devices(lambda state, data: steps(state, data, key), (_STATE, data), (_STATE, whole)),
                   donate_argnums=0)
  by_hand = make_steps(objective, optimizer, tasks, share=share, num_steps=num_steps,
                       around=lambda estimate: on_devices(
                           estimate, (whole, _STATE.carry, whole, data, whole), (whole, _STATE.carry, whole)))

  def sharded(state, data):
    # Only the tasks are mapped by hand; the optimizer's arithmetic is left to the partitioner, which knows how to
    # take the norm of a sharded array.
    state, metrics = by_hand(state, data, key)
    return lax.with_sharding_constraint(state, spread(state, mesh)), metrics

  return jax.jit(sharded, donate_argnums=0)


def make_steps(objective: Trainable, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *, share: int,
               num_steps: int, around: Callable[[Callable], Callable] = lambda estimate: estimate
               ) -> Callable[[TrainState, PyTree, PRNGKey], tuple[TrainState, Metrics]]:
  """Returns `(state, data, key) -> (state, metrics)`: `num_steps` steps of a run, to be mapped over `TASKS` and jitted.

  Arguments as in `make_advance`; besides,

  Args:
    share: the number of tasks on each device.
    around: what to put around the part of a step that samples and estimates, if that alone is to be mapped.
  """
  estimator = _estimator(objective)

  def estimate(params: Params, carry: PyTree, step: Array, data: PyTree, key: PRNGKey
               ) -> tuple[Params, PyTree, Metrics]:
    places = jnp.arange(share, dtype=jnp.int32) + lax.axis_index(TASKS) * share
    return _estimate(estimator, params, carry, step, meta_batch(tasks, data, key, step, places), key)

  mapped = around(estimate)

  def step(state: TrainState, data: PyTree, key: PRNGKey) -> tuple[TrainState, Metrics]:
    state, checked = _descend(optimizer, state, *mapped(state.params, state.carry, state.step, data, key))
    skipped = was_skipped(state.opt_state)
    extra = {} if skipped is None else {SKIPPED: skipped.astype(jnp.float32)}
    return state, {**checked.metrics, NORM: checked.norm, FAULT: first_fault(checked), **extra}

  def steps(state, data, key):
    if num_steps == 1:  # no loop: XLA:CPU computes the gradients of convolutions well only outside of one
      state, metrics = step(state, data, key)
      return state, jax.tree.map(lambda value: value[None], metrics)
    return lax.scan(lambda state, _: step(state, data, key), state, length=num_steps)

  return steps


def update(objective: Trainable, optimizer: optax.GradientTransformation, state: TrainState, tasks: PyTree,
           key: PRNGKey) -> tuple[TrainState, Checked]:
  """Returns the state one step on, and all that the step computed. To be called under the axis `sharding.TASKS`.

  Args:
    objective, optimizer: as in `make_advance`.
    state: before the step.
    tasks: the device's share of the meta-batch.
    key: the root key.
  """
  estimated = _estimate(_estimator(objective), state.params, state.carry, state.step, tasks, key)
  return _descend(optimizer, state, *estimated)


def _estimator(objective: Trainable) -> Estimator:
  if isinstance(objective, Objective):
    objective = objective.over(TASKS)
  return objective if isinstance(objective, Estimator) else differentiate(objective)


def _estimate(estimator: Estimator, params: Params, carry: PyTree, step: Array, tasks: PyTree, key: PRNGKey
              ) -> tuple[Params, PyTree, Metrics]:
  key_objective = jax.random.split(jax.random.fold_in(key, step))[1]
  gradient, carry, metrics = estimator.estimate(params, carry, tasks, key_objective, step)
  gradient, metrics = lax.pmean((gradient, jax.tree.map(jnp.asarray, dict(metrics))), TASKS)
  return gradient, carry, metrics


def _descend(optimizer: optax.GradientTransformation, state: TrainState, gradient: Params, carry: PyTree,
             metrics: Metrics) -> tuple[TrainState, Checked]:
  params, opt_state = descend(optimizer, gradient, state.opt_state, state.params)
  checked = Checked(metrics, gradient, optax.tree.norm(gradient), opt_state, params)
  return TrainState(state.step + 1, params, opt_state, carry), checked
