"""The compiled step of meta-training: it draws tasks, estimates and averages the gradient, and updates the parameters.

The tasks and keys of a step depend only on the seed, the step, and the task's index in the meta-batch. A checkpoint is
therefore just a `TrainState`, and resuming is exact.
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
from metajax.kinds import checked
from metajax.tasks.sampling import meta_batch
from metajax.training.averages import keeping_averages, weights
from metajax.training.faults import Checked, first_fault, was_skipped
from metajax.training.sharding import Mapping as DeviceMapping
from metajax.training.sharding import TASKS
from metajax.training.sharding import over_tasks, over_tasks_by_pmap, spread
from metajax.types import (Array, Estimator, Learner, Metrics, Objective, Params, PRNGKey, PyTree, TaskDistribution,
                           Trainable)


class TrainState(NamedTuple):
  """Everything that meta-training carries from one step to the next."""
  step: Array  # scalar int32, the number of steps done
  params: Params
  opt_state: optax.OptState
  carry: PyTree = ()  # the carry of the estimator, every leaf [T, ...]


Advance = Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]

# Metrics added to those of the objective: the norm, the index of a non-finite leaf, and whether the update was skipped.
NORM, FAULT, SKIPPED = "gradient_norm", "fault", "skipped"

# The carry is sharded over devices as tasks are; the rest of the state is replicated.
_WHOLE: Any = PartitionSpec()
_STATE = TrainState(_WHOLE, _WHOLE, _WHOLE, PartitionSpec(TASKS))


@checked
def init_state(learner: Learner | Callable[[PRNGKey, PyTree], Params], optimizer: optax.GradientTransformation,
               tasks: TaskDistribution, key: PRNGKey, objective: Trainable | None = None, num_tasks: int = 0
               ) -> TrainState:
  """Returns the state before the first step.

  Args:
    learner: the learner whose parameters are initialised, or its `init`.
    optimizer: the outer optimizer.
    tasks: the task distribution; the parameters are initialised for the inputs of one task.
    key: for the parameters, the task, and the carry of an estimator.
    objective: needed only if it is an estimator with a carry.
    num_tasks: `T`, tasks in a meta-batch over all devices; needed only for such an estimator.
  """
  key_params, key_task = jax.random.split(key)
  make = learner.init if isinstance(learner, Learner) else learner

  def init(data):
    params = make(key_params, tasks.example(tasks.sample(data, key_task)))
    carry: PyTree = ()
    if isinstance(objective, Estimator):
      batch = meta_batch(tasks, data, key_task, jnp.int32(0), jnp.arange(num_tasks, dtype=jnp.int32))
      carry = objective.init(params, batch, jax.random.fold_in(key_params, 1))
    return TrainState(jnp.int32(0), params, keeping_averages(optimizer).init(params), carry)

  return jax.jit(init)(tasks.data)


@checked
def make_advance(objective: Trainable, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *,
                 num_tasks: int, num_steps: int, key: PRNGKey, mesh: Mesh,
                 mapped: DeviceMapping = over_tasks, spread_state: bool = False, data_specs: Any = None) -> Advance:
  """Returns the compiled `(state, data) -> (state, metrics)` that does `num_steps` steps in one dispatch.

  A step samples `num_tasks` tasks, sharded over devices, estimates the gradient, averages it over devices, and updates
  the parameters. Metrics are `[num_steps]`, averaged over devices: those of the objective, `gradient_norm`, `fault`
  (`faults.first_fault`) and, if the optimizer can skip updates, `skipped`. The given state is donated.

  Args:
    objective: an objective, which is differentiated, or an estimator. A plain function `(params, tasks, key) -> (loss,
      metrics)` is accepted on a single device only.
    optimizer: the outer optimizer.
    tasks: the task distribution. Its `data` is passed at each call, so that it is not a constant of the program.
    num_tasks: tasks in a meta-batch, over all devices.
    num_steps: steps in a dispatch.
    key: the root key; a step uses `fold_in(key, step)`.
    mesh: the devices of all processes; their number must divide `num_tasks`.
    mapped: how a function is mapped over them: `sharding.over_tasks` or `sharding.over_tasks_by_pmap`.
    spread_state: for large networks: shard the large arrays of the parameters and the optimizer's state over devices
      between steps (`sharding.spread`). A step then gathers the parameters. For any optimizer, the results are the same
      up to rounding.
    data_specs: partition specs of the data, which is then mapped by `sharding.over_tasks`; by default it is replicated.

  Raises:
    ValueError: if the devices do not divide the tasks, a number is not positive, an estimator is mapped by `pmap`, or
      a plain function is to be mapped over several devices.
  """
  check_integers(num_tasks=num_tasks, num_steps=num_steps)
  if num_tasks < 1 or num_steps < 1:
    raise ValueError(f"a dispatch needs at least 1 task and 1 step, but got {num_tasks} and {num_steps}.")
  if num_tasks % mesh.size:
    raise ValueError(f"the {num_tasks} tasks of a meta-batch cannot be divided evenly among {mesh.size} devices; use a "
                     f"multiple of {mesh.size}.")
  carries = isinstance(objective, Estimator)
  if carries and mapped is over_tasks_by_pmap:
    raise ValueError("an estimator's carry is sharded over devices, which pmap does not support here; map tasks with "
                     "sharding.over_tasks.")
  if mesh.size > 1 and not isinstance(objective, (Objective, Estimator)):
    raise ValueError(f"an objective must take an axis_name if its tasks are sharded over {mesh.size} devices, but this "
                     "is a plain function; give metajax.Objective(lambda params, tasks, key, axis_name: ...), which "
                     "may ignore axis_name if its loss is a mean over tasks, or train on one device.")
  share, everywhere = num_tasks // mesh.size, PartitionSpec()

  def on_devices(function, in_specs, out_specs):
    if data_specs is None and not carries:
      return mapped(function, mesh)
    return over_tasks(function, mesh, in_specs, out_specs)

  data = everywhere if data_specs is None else data_specs
  if not spread_state:
    steps = make_steps(objective, optimizer, tasks, share=share, num_steps=num_steps)
    return jax.jit(on_devices(lambda state, data: steps(state, data, key), (_STATE, data), (_STATE, everywhere)),
                   donate_argnums=0)
  manual = make_steps(objective, optimizer, tasks, share=share, num_steps=num_steps,
                      around=lambda estimate: on_devices(
                          estimate, (everywhere, _STATE.carry, everywhere, data, everywhere),
                          (everywhere, _STATE.carry, everywhere)))

  def sharded(state, data):
    # Only the tasks are mapped manually; the optimizer is left to the automatic partitioner, which computes norms of
    # sharded arrays correctly.
    state, metrics = manual(state, data, key)
    return lax.with_sharding_constraint(state, spread(state, mesh)), metrics

  return jax.jit(sharded, donate_argnums=0)


def make_steps(objective: Trainable, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *, share: int,
               num_steps: int, around: Callable[[Callable], Callable] = lambda estimate: estimate
               ) -> Callable[[TrainState, PyTree, PRNGKey], tuple[TrainState, Metrics]]:
  """Returns `(state, data, key) -> (state, metrics)`: `num_steps` steps of a run, to be mapped over `TASKS` and jitted.

  Other arguments are those of `make_advance`.

  Args:
    share: the number of tasks per device.
    around: wraps the part of a step that samples tasks and estimates the gradient, if only that part is mapped.
  """
  estimator = _estimator(objective)

  def estimate(params: Params, carry: PyTree, step: Array, data: PyTree, key: PRNGKey
               ) -> tuple[Params, PyTree, Metrics]:
    indices = jnp.arange(share, dtype=jnp.int32) + lax.axis_index(TASKS) * share
    return _estimate(estimator, params, carry, step, meta_batch(tasks, data, key, step, indices), key)

  mapped = around(estimate)

  def step(state: TrainState, data: PyTree, key: PRNGKey) -> tuple[TrainState, Metrics]:
    state, checked = _descend(optimizer, state, *mapped(state.params, state.carry, state.step, data, key))
    skipped = was_skipped(state.opt_state)
    extra = {} if skipped is None else {SKIPPED: skipped.astype(jnp.float32)}
    return state, {**checked.metrics, NORM: checked.norm, FAULT: first_fault(checked), **extra}

  def steps(state, data, key):
    if num_steps == 1:  # no loop: on CPU, XLA is fast at the gradients of convolutions only outside of loops
      state, metrics = step(state, data, key)
      return state, jax.tree.map(lambda value: value[None], metrics)
    return lax.scan(lambda state, _: step(state, data, key), state, length=num_steps)

  return steps


def update(objective: Trainable, optimizer: optax.GradientTransformation, state: TrainState, tasks: PyTree,
           key: PRNGKey) -> tuple[TrainState, Checked]:
  """Returns the state after one step, and everything the step computed. To be mapped over the axis `sharding.TASKS`.

  Args:
    objective, optimizer: as in `make_advance`.
    state: the state before the step.
    tasks: the device's shard of the meta-batch.
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
  params, opt_state = descend(keeping_averages(optimizer), gradient, state.opt_state, state.params)
  checked = Checked(metrics, gradient, optax.tree.norm(weights(gradient)), opt_state, params)
  return TrainState(state.step + 1, params, opt_state, carry), checked
