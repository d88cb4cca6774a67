"""Meta-training learns; devices, dispatches and interruptions change nothing; diverged runs stop."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metajax import learners, losses, objectives
from metajax.lab.checkpoints import Checkpoints
from metajax.lab.session import write_batch
from metajax.tasks.class_data import ClassData
from metajax.tasks.classes import class_tasks
from metajax.tasks.sampling import sample_tasks
from metajax.tasks.sinusoids import sinusoids
from metajax.training.faults import NonFinite, guard
from metajax.training.loop import Stopped, fit
from metajax.training.sharding import TASKS, replicated, task_mesh, usable_devices
from metajax.training.step import TrainState, init_state, make_advance
from metajax.types import Objective
from tests.helpers import tanh_network
from tests.small_runs import stop_after

_KEY = jax.random.key(11)
_NUM_TASKS = 8


def _maml():
  return learners.maml(tanh_network(1, 8, 1), losses.squared_error, optimizer=optax.sgd(0.02)), losses.squared_error


def _protonet():
  return learners.protonet(tanh_network(6, 8, 5), num_classes=3), losses.softmax_cross_entropy


def _blobs():
  random = np.random.default_rng(0)
  centres = random.normal(size=(10, 1, 6)) * 2
  drawings = (centres + random.normal(size=(10, 9, 6))).reshape(-1, 6).astype(np.float32)
  source = ClassData(drawings, np.full(10, 9, np.int32), tuple(f"class {i}" for i in range(10)), "blobs")
  return class_tasks(source, ways=3, shots=2, queries=2)


_CASES = {"maml": (_maml, lambda: sinusoids(5, 5)), "protonet": (_protonet, _blobs)}


def _objective(case, axis_name=TASKS, weight=0.1):
  learner, loss = _CASES[case][0]()
  return objectives.conml(learner, loss, weight=weight, axis_name=axis_name)


class _Run:
  """The training of one case on a number of devices."""

  def __init__(self, case, *, num_devices=1, objective=None, rate=0.01):
    self.tasks, learner = _CASES[case][1](), _CASES[case][0]()[0]
    self.optimizer = optax.adam(rate)
    self.mesh = task_mesh(jax.devices()[:num_devices])
    self.objective = _objective(case) if objective is None else objective
    self.start = lambda: jax.device_put(init_state(learner, self.optimizer, self.tasks, jax.random.key(3)),
                                        replicated(self.mesh))
    self.tasks = self.tasks._replace(data=jax.device_put(self.tasks.data, replicated(self.mesh)))
    self.advance = functools.cache(self._advance)
    self.rows = []

  def _advance(self, num_steps):
    return make_advance(self.objective, self.optimizer, self.tasks, num_tasks=_NUM_TASKS, num_steps=num_steps,
                        key=_KEY, mesh=self.mesh)

  def to(self, num_steps, state=None, *, per_dispatch=2, per_row=2, hooks=(), **options):
    """Returns the state after `num_steps` in total."""
    record = lambda step, state, metrics: self.rows.append((step, metrics))
    return fit(self.start() if state is None else state, self.tasks, self.advance, num_steps=num_steps,
               steps_per_dispatch=per_dispatch, steps_per_row=per_row, hooks=[record, *hooks], **options)


def test_the_loss_goes_down():
  run = _Run("maml", num_devices=2, rate=0.02)
  state = run.to(300, per_dispatch=50, per_row=50)
  loss = [metrics["episodic_loss"] for _, metrics in run.rows]
  assert [step for step, _ in run.rows] == list(range(50, 301, 50)) and int(state.step) == 300
  assert loss[-1] < 0.8 * loss[0]


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.usefixtures("compiled_quickly")
def test_eight_devices_do_what_one_does(case):
  one, eight = _Run(case), _Run(case, num_devices=8)
  first, second = one.to(5, per_dispatch=1), eight.to(5, per_dispatch=1)
  assert len(jax.tree.leaves(second.params)[0].devices()) == 8
  chex.assert_trees_all_close(jax.device_get(first.params), jax.device_get(second.params), rtol=1e-5, atol=1e-6)
  for (step, metrics), (_, others) in zip(one.rows, eight.rows, strict=True):
    assert metrics.keys() == others.keys() >= {"loss", "d_in", "d_out", "gradient_norm"}, step
    for name in metrics:
      np.testing.assert_allclose(others[name], metrics[name], rtol=2e-5, err_msg=f"{name} at step {step}")


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.usefixtures("compiled_quickly")
def test_the_same_as_a_loop_written_by_hand(case):
  run = _Run(case, num_devices=4)
  trained = run.to(4, per_row=1)

  (learner, _), objective = _CASES[case][0](), _objective(case, axis_name=None)
  tasks = _CASES[case][1]()
  key_params, key_task = jax.random.split(jax.random.key(3))
  params = learner.init(key_params, jax.jit(tasks.sample)(tasks.data, key_task).support.inputs)
  optimizer = optax.adam(0.01)
  opt_state = optimizer.init(params)
  gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))

  @jax.jit
  def descend(slope, opt_state, params):
    with jax.numpy_dtype_promotion("standard"):
      updates, opt_state = optimizer.update(slope, opt_state)
      return optax.apply_updates(params, updates), opt_state

  sample = jax.jit(lambda key: sample_tasks(tasks, tasks.data, key, jnp.arange(_NUM_TASKS)))
  for step in range(4):
    key_tasks, key_objective = jax.random.split(jax.random.fold_in(_KEY, step))
    (loss, metrics), slope = gradient(params, sample(key_tasks), key_objective)
    params, opt_state = descend(slope, opt_state, params)
    np.testing.assert_allclose(run.rows[step][1]["loss"], float(loss), rtol=1e-5)
    np.testing.assert_allclose(run.rows[step][1]["d_out"], float(metrics["d_out"]), rtol=1e-5)
    np.testing.assert_allclose(run.rows[step][1]["gradient_norm"], float(optax.tree.norm(slope)), rtol=1e-5)
  chex.assert_trees_all_close(jax.device_get(trained.params), jax.device_get(params), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", _CASES)
def test_resumed_is_bit_identical(case, tmp_path):
  whole, broken = _Run(case, num_devices=2), _Run(case, num_devices=2)
  expected = whole.to(6, per_dispatch=1, per_row=3)
  with Checkpoints(tmp_path) as checkpoints:
    broken.to(3, per_dispatch=1, per_row=3, hooks=[lambda step, state, metrics: checkpoints.save(step, state)])
  with Checkpoints(tmp_path) as checkpoints:
    step, restored, _ = checkpoints.restore(broken.start())
  assert step == 3
  actual = broken.to(6, restored, per_dispatch=1, per_row=3)
  assert int(actual.step) == 6
  chex.assert_trees_all_equal(jax.device_get(actual), jax.device_get(expected))
  assert broken.rows == whole.rows


def test_resuming_in_the_middle_of_a_row_keeps_to_the_rows():
  run = _Run("maml")
  state = run.to(3, per_row=4)
  run.to(9, state, per_row=4)
  assert [step for step, _ in run.rows] == [3, 4, 8, 9]


def test_steps_per_dispatch_change_nothing():
  runs = {}
  for per_dispatch in (1, 2, 3):
    run = _Run("maml")
    runs[per_dispatch] = run.to(8, per_dispatch=per_dispatch, per_row=4), run.rows
  params, rows = runs[1]
  assert [step for step, _ in rows] == [4, 8]
  for others, other_rows in (runs[2], runs[3]):
    assert int(others.step) == 8
    chex.assert_trees_all_close(jax.device_get(others.params), jax.device_get(params.params), rtol=1e-5, atol=1e-6)
    for (step, metrics), (other_step, other_metrics) in zip(rows, other_rows, strict=True):
      assert step == other_step and metrics.keys() == other_metrics.keys()
      for name in metrics:  # means over the row, with dispatches of unequal length
        np.testing.assert_allclose(other_metrics[name], metrics[name], rtol=1e-5)


def test_stopped_and_resumed_is_bit_identical():
  run = _Run("maml", num_devices=2)
  expected = run.to(12, per_row=5)
  rows = list(run.rows)
  assert [step for step, _ in rows] == [5, 10, 12]
  for polls, stopped_at in ((0, 0), (1, 2), (2, 4), (3, 5), (4, 7)):
    run.rows.clear()
    with pytest.raises(Stopped, match=f"after step {stopped_at}") as raised:
      run.to(12, per_row=5, stop_requested=stop_after(polls))
    stopped = raised.value
    assert stopped.step == stopped_at == int(stopped.state.step)
    row = json.loads(json.dumps(stopped.row))  # as a checkpoint keeps it
    assert all(len(values) == stopped_at % 5 for values in row.values())
    actual = run.to(12, stopped.state, per_row=5, row=row)
    chex.assert_trees_all_equal(jax.device_get(actual), jax.device_get(expected))
    assert run.rows == rows


def test_a_stop_request_at_the_end_changes_nothing():
  run = _Run("maml")
  assert int(run.to(4, stop_requested=stop_after(2)).step) == 4


def _sometimes_nan(bad_steps):
  """Returns an objective whose gradient is NaN at some steps, identified by the parameter `steps`."""

  def objective(params, episodes, key):
    del episodes, key
    count = params["steps"][0]  # decreases by one per step that is not skipped
    bad = jnp.isin(-count, jnp.array(bad_steps, jnp.float32))
    return count * jnp.where(bad, jnp.nan, 1.0), {"loss": -count + jnp.where(bad, jnp.nan, 0.0)}

  return objective


def _counting_run(objective, optimizer):
  run = _Run("maml", objective=objective)
  run.optimizer = optimizer
  params = {"steps": jnp.zeros(1)}
  return run, jax.device_put(TrainState(jnp.int32(0), params, optimizer.init(params)), replicated(run.mesh))


@pytest.mark.parametrize("per_dispatch", [1, 6])
def test_the_step_and_the_leaf_of_a_fault_are_named(per_dispatch):
  run, state = _counting_run(_sometimes_nan([3]), optax.sgd(1.0))
  objective = run.objective
  run.objective = lambda *arguments: (objective(*arguments)[0], {"loss": jnp.float32(0)})  # only the gradient is NaN
  with pytest.raises(NonFinite, match="^gradient/steps stopped being finite at step 4;") as raised:
    run.to(12, state, per_dispatch=per_dispatch, per_row=6)
  assert raised.value.step == 4 and not run.rows


def test_a_stop_does_not_hide_a_fault():
  run, state = _counting_run(_sometimes_nan([3]), optax.sgd(1.0))
  with pytest.raises(NonFinite, match="at step 4;"):
    run.to(12, state, per_dispatch=1, per_row=6, stop_requested=stop_after(5))


@pytest.mark.parametrize("per_dispatch", [1, 3])
def test_skipped_updates_are_counted_and_left_out(per_dispatch):
  # A skipped step is repeated: after the first bad step, the objective stays bad until the guard gives up.
  def objective(params, episodes, key):
    bad = jax.random.randint(key, (), 0, 3) == 0  # of the step, not of the parameters
    loss = params["steps"][0]
    return loss * jnp.where(bad, jnp.nan, 1.0), {"loss": jnp.where(bad, jnp.nan, -loss)}

  run, state = _counting_run(objective, guard(optax.sgd(1.0), skip=100))
  state = run.to(18, state, per_dispatch=per_dispatch, per_row=6)
  skipped = [metrics["skipped"] for _, metrics in run.rows]
  assert [step for step, _ in run.rows] == [6, 12, 18] and 0 < sum(skipped) < 18
  assert -int(state.params["steps"][0]) == 18 - sum(skipped)  # all others were applied
  assert int(state.opt_state.total_notfinite) == sum(skipped)
  taken = 0
  for (_, metrics), count in zip(run.rows, skipped, strict=True):
    if count < 6:
      assert metrics["loss"] == np.mean(np.arange(taken, taken + 6 - count))
    taken += 6 - count


def test_a_row_of_nothing_but_skipped_updates():
  run, state = _counting_run(_sometimes_nan([2]), guard(optax.sgd(1.0), skip=4))
  with pytest.raises(NonFinite, match="at step 7;"):  # the fifth in a row is applied
    run.to(12, state, per_dispatch=1, per_row=2)
  assert [(step, metrics["skipped"]) for step, metrics in run.rows] == [(2, 0), (4, 2), (6, 2)]
  assert set(run.rows[1][1]) == {"skipped"} and run.rows[0][1]["loss"] == 0.5


def test_the_batch_of_a_step_is_the_one_trained_on(tmp_path):
  seen = []

  def objective(params, episodes, key):
    jax.debug.callback(lambda inputs: seen.append(np.array(inputs)), episodes.support.inputs)
    return _objective("maml")(params, episodes, key)

  run = _Run("maml", objective=objective)
  run.to(3, per_dispatch=1, per_row=1)
  jax.effects_barrier()
  write_batch(tmp_path / "step_2.npz", run.tasks, _KEY, 2, _NUM_TASKS)
  with np.load(tmp_path / "step_2.npz") as arrays:
    assert set(arrays) == {f"{part}.{name}" for part in ("support", "query") for name in ("inputs", "targets", "mask")}
    np.testing.assert_array_equal(arrays["support.inputs"], seen[1], strict=True)


def test_nothing_left_to_do_does_nothing():
  run = _Run("maml")
  state = run.to(2)
  rows = list(run.rows)
  run.advance = None
  assert run.to(2, state) is state and run.rows == rows


@pytest.mark.parametrize("broken, first", [("loss", "loss"), ("d_out", "d_out"), ("both", "d_out")])
def test_a_non_finite_value_stops_the_run_before_hooks_run(broken, first):

  def objective(params, episodes, key):
    del episodes, key
    loss = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params))
    count = params["steps"][0]  # decreases by one per step
    bad = jnp.where(count < -3.5, jnp.nan, 0.0)
    return loss * 0 + count, {"loss": loss + (bad if broken != "d_out" else 0.0),
                                "d_out": bad if broken != "loss" else 0.0}

  run = _Run("maml", objective=objective)
  run.optimizer = optax.sgd(1.0)
  params = {"steps": jnp.zeros(1)}
  state = init_state(learners.maml(tanh_network(1, 2, 1), losses.squared_error, optimizer=optax.sgd(0.1)),
                     run.optimizer, run.tasks, jax.random.key(0))._replace(
                         params=params, opt_state=run.optimizer.init(params))
  with pytest.raises(FloatingPointError, match=rf"metrics/{first}.* at step 5; lower the learning rate"):
    run.to(10, jax.device_put(state, replicated(run.mesh)))
  assert [step for step, _ in run.rows] == [2, 4]
  assert all(np.isfinite(list(metrics.values())).all() for _, metrics in run.rows)


@pytest.mark.parametrize("numbers, words", [
    ({"num_tasks": 6}, "the 6 tasks of a meta-batch cannot be divided evenly among 8 devices; use a multiple of 8"),
    ({"num_tasks": 0}, "at least 1 task and 1 step, but got 0 and 1"),
    ({"num_steps": 0}, "at least 1 task and 1 step, but got 8 and 0")])
def test_invalid_numbers_are_rejected(numbers, words):
  run = _Run("maml", num_devices=8)
  with pytest.raises(ValueError, match=words):
    make_advance(run.objective, run.optimizer, run.tasks, **{"num_tasks": 8, "num_steps": 1, **numbers}, key=_KEY,
                 mesh=run.mesh)


@pytest.mark.parametrize("num_tasks, devices", [(8, 8), (6, 6), (25, 5), (7, 7), (1, 1), (11, 1)])
def test_usable_devices_divide_the_tasks(num_tasks, devices):
  assert len(usable_devices(num_tasks)) == devices


@pytest.mark.parametrize("per_dispatch", [1, 2])
def test_the_step_is_compiled_once(per_dispatch):
  traces = []

  def counted(params, episodes, key, axis_name):
    traces.append(1)
    return _objective("maml").over(axis_name)(params, episodes, key)

  run = _Run("maml", num_devices=8, objective=Objective(counted))
  state = run.to(2 * per_dispatch, per_dispatch=per_dispatch, per_row=per_dispatch)
  once = len(traces)
  run.to(10 * per_dispatch, state, per_dispatch=per_dispatch, per_row=per_dispatch)
  assert once and len(traces) == once
  assert run.advance(per_dispatch)._cache_size() == 1


def test_the_data_are_no_constant_of_the_program():
  run = _Run("protonet")
  first = run.advance(1)(run.start(), run.tasks.data)[1]["loss"]
  blank = run.tasks.data._replace(examples=jnp.zeros_like(run.tasks.data.examples))
  second = run.advance(1)(run.start(), jax.device_put(blank, replicated(run.mesh)))[1]["loss"]
  assert first != second


def test_seed_and_step_determine_everything():
  run = _Run("maml")
  slow, fast = run.start(), run.start()
  fast = fast._replace(step=fast.step + 5)
  assert run.advance(1)(slow, ())[1]["loss"] != run.advance(1)(fast, ())[1]["loss"]
  assert run.advance(1)(run.start(), ())[1]["loss"] == run.advance(1)(run.start(), ())[1]["loss"]


def test_data_left_on_the_host_are_refused_instead_of_sent_at_every_step():
  run = _Run("protonet")
  run.tasks = run.tasks._replace(data=jax.tree.map(np.asarray, run.tasks.data))
  with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
    run.to(2)
