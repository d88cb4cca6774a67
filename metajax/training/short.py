"""The high-level functions: meta-train, test and use a learner, each in one call."""

from dataclasses import dataclass, field
import functools
import shutil
import sys
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.kinds import checked, said
from metajax.tasks.sampling import sample_batch
from metajax.training.evaluation import Estimate, make_evaluate
from metajax.training.fitting import (as_array, as_inputs, as_reals, as_trained, check_finite, check_labels, check_task,
                                      with_trained_size)
from metajax.training.loop import fit
from metajax.training.sharding import replicate, task_mesh, usable_devices
from metajax.training.step import TrainState, init_state, make_advance
from metajax.types import (Array, Episode, Learner, Objective, Params, PerExample, PRNGKey, PyTree, TaskDistribution,
                           Trainable)

_ROWS = 20  # rows of metrics
_SMALL = 10_000  # parameters; smaller models have short steps, and many of them go into one dispatch


class Trained(NamedTuple):
  """What `train` returns."""
  params: Params
  state: TrainState  # to continue training: `train(..., state=trained.state, steps=more)`
  metrics: Mapping[str, list[float]]  # by name, means over the steps of a row; `step` is the last step of each row

  def __repr__(self) -> str:
    last = "  ".join(f"{name} {values[-1]:.4g}" for name, values in self.metrics.items() if name != "step")
    return f"Trained for {int(self.state.step)} steps. {last}".rstrip()


class Results(dict[str, Estimate]):
  """Test results by name, printed as mean ± 95 % confidence interval."""

  def __repr__(self) -> str:
    return "  ".join(f"{name} {estimate}" for name, estimate in self.items())


@checked
def train(objective: Trainable, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *, steps: int,
          tasks_per_step: int = 32, seed: int = 0, init: Callable[[PRNGKey, PyTree], Params] | None = None,
          state: TrainState | None = None, progress: bool = True) -> Trained:
  """Meta-trains on all available devices, and returns the parameters.

  Args:
    objective: the objective, such as `objectives.conml(learner, loss)`.
    optimizer: the outer optimizer.
    tasks: the distribution of training tasks.
    steps: the total number of steps, including those already done in `state`.
    tasks_per_step: tasks in a meta-batch, over all devices.
    seed: seed of the initial parameters and of the training tasks.
    init: `(key, inputs [N, ...]) -> params`, for an objective without a learner; commonly `learner.init`.
    state: the state to continue from; None starts from scratch. It is not modified.
    progress: whether to print progress to standard error.

  Raises:
    ValueError: if an argument is of another kind, the objective has no learner and `init` is not given, a number is not
      positive, or the labels of a task are out of the learner's range.
    metajax.training.faults.NonFinite: if a step computes a non-finite value.
  """
  check_integers(steps=steps, tasks_per_step=tasks_per_step)
  if steps < 1 or tasks_per_step < 1:
    raise ValueError(f"training needs at least 1 step of 1 task, but got {steps} steps of {tasks_per_step} tasks.")
  init = init or (objective.init if isinstance(objective, Objective) else None)
  if init is None:
    raise ValueError("the objective has no learner to initialise the parameters from; give init=learner.init.")
  if state is not None and not isinstance(state, TrainState):
    raise ValueError(f"state must be that of an earlier call, trained.state, but it is {said(state)}.")
  key_init, key_train = jax.random.split(jax.random.key(seed))
  mesh = task_mesh(usable_devices(tasks_per_step))
  if state is None:
    state = init_state(init, optimizer, tasks, key_init, objective, tasks_per_step)
  _check_first_task(objective, state.params, tasks, key_init)
  state = replicate(jax.tree.map(jnp.copy, state), mesh)  # a copy, since a step donates its arguments
  small = sum(leaf.size for leaf in jax.tree.leaves(state.params)) <= _SMALL
  metrics: dict[str, list[float]] = {"step": []}
  show = _Progress(steps) if progress else (lambda step, means: None)

  def report(step, _, means):
    metrics["step"].append(step)
    for name, value in means.items():
      metrics.setdefault(name, []).append(value)
    show(step, means)

  @functools.cache
  def advance(num_steps):
    return make_advance(objective, optimizer, tasks, num_tasks=tasks_per_step, num_steps=num_steps, key=key_train,
                        mesh=mesh)

  row = max(1, steps // _ROWS)
  state = fit(state, tasks._replace(data=replicate(tasks.data, mesh)), advance, num_steps=steps,
              steps_per_dispatch=min(row, 50) if small else 1, steps_per_row=row, hooks=[report])
  return Trained(jax.device_put(state.params, jax.local_devices()[0]), state, metrics)


@checked
def evaluate(learner: Learner, params: Params, tasks: TaskDistribution, loss: PerExample,
             scores: Mapping[str, PerExample] | None = None, *, episodes: int = 600, seed: int = 0) -> Results:
  """Tests a learner on a frozen list of episodes; returns means and 95 % confidence intervals of loss and scores.

  Args:
    learner: the trained learner, or the same with a different number of inner steps.
    params: the trained parameters, or what `train` returned.
    tasks: the distribution of test tasks.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    scores: further measures of the same form.
    episodes: the number of test episodes, at least 2.
    seed: seed of the list; with the same seed, every learner is tested on the same episodes.
  """
  run = make_evaluate(learner, loss, scores or {}, tasks, num_episodes=episodes, key=jax.random.key(seed))
  return Results(run(_params_of(learner, params)))


@functools.partial(jax.tree_util.register_dataclass, data_fields=("params", "adapted"), meta_fields=("learner", "rank"))
@dataclass(frozen=True, eq=False)  # as a function, it is hashed by its identity
class Model:
  """A task model: called with inputs, it returns predictions. It is a pytree and works with `jit` and `vmap`."""
  params: Params = field(repr=False)
  adapted: PyTree = field(repr=False)
  learner: Learner = field(repr=False)
  rank: int  # number of axes of one input

  def __call__(self, inputs: PyTree) -> Array:
    """Returns predictions `[Q, ...]` for inputs `[Q, ...]`, or one prediction for one input without a leading axis.

    Raises ValueError if the inputs are not numbers, or of another size than in training.
    """
    inputs = as_inputs(inputs)
    one = jnp.ndim(jax.tree.leaves(inputs)[0]) == self.rank
    queries = jax.tree.map(lambda leaf: leaf[None], inputs) if one else inputs
    queries = as_trained(self.learner, self.params, queries)
    mask = jnp.ones(jax.tree.leaves(queries)[0].shape[:1], bool)

    def predict():
      features = self.learner.embed(self.params, queries, mask)
      return self.learner.predict(self.params, self.adapted, features, mask)

    outputs = with_trained_size(self.learner, self.params, queries, predict)
    return outputs[0] if one else outputs


@checked
def adapt(learner: Learner, params: Params, inputs: PyTree, targets: Any, *, key: PRNGKey | None = None) -> Model:
  """Learns one task from examples, and returns a model that predicts.

  >>> import jax, optax
  >>> import metajax
  >>> learner = metajax.learners.maml(metajax.networks.mlp((8,), 1), metajax.losses.squared_error,
  ...                                 optimizer=optax.sgd(0.01))
  >>> x, y = jax.numpy.ones((5, 1)), jax.numpy.ones((5, 1))
  >>> params = learner.init(jax.random.key(0), x)  # in practice: `metajax.train(...).params`
  >>> model = metajax.adapt(learner, params, x, y)
  >>> model(jax.numpy.zeros((3, 1))).shape, model(jax.numpy.zeros(1)).shape
  ((3, 1), (1,))

  Args:
    learner, params: the trained learner and parameters (or what `train` returned).
    inputs: `[N, ...]`, an array or lists. Integers are read as reals, unless the learner was trained on integers.
    targets: `[N]` integers, or `[N, ...]` reals.
    key: for stochastic learners; fixed by default.

  Raises:
    ValueError: if inputs and targets differ in length, are empty, are not numbers or not finite, if a label is out of
      the learner's range, or if the inputs have another size than in training.
  """
  params = _params_of(learner, params)
  inputs, targets = as_inputs(inputs), as_array("targets", targets)
  sizes = {len(leaf) if jnp.ndim(leaf) else 0 for leaf in (*jax.tree.leaves(inputs), targets)}
  if len(sizes) > 1 or 0 in sizes:
    raise ValueError("inputs and targets must have the same length, at least 1, but their shapes are "
                     f"{jax.tree.map(jnp.shape, inputs)} and {jnp.shape(targets)}.")
  check_finite("inputs", inputs)
  check_finite("targets", targets)
  inputs = as_trained(learner, params, inputs)
  support = examples(inputs, as_reals(targets) if targets.ndim > 1 else targets)

  def adapted():
    features = learner.embed(params, inputs, support.mask)
    return learner.adapt(params, support._replace(inputs=features), jax.random.key(0) if key is None else key)

  model = Model(params, with_trained_size(learner, params, inputs, adapted), learner,
                jnp.ndim(jax.tree.leaves(inputs)[0]) - 1)
  if jnp.issubdtype(targets.dtype, jnp.integer):
    check_labels(targets, jax.eval_shape(model, inputs))
  return model


def _params_of(learner: Learner, params: Params) -> Params:
  """Returns parameters, also of a `Trained`; raises ValueError for what cannot be parameters."""
  if isinstance(params, Trained):
    return params.params
  if isinstance(params, (Learner, Objective, TaskDistribution, TrainState)) or callable(params):
    raise ValueError(f"params must be trained parameters, such as metajax.train(...).params, but it is {said(params)}.")
  return params


def _check_first_task(objective: Trainable, params: Params, tasks: TaskDistribution, key: PRNGKey) -> None:
  """Raises ValueError if the labels of one task are out of the range of the objective's learner."""
  learner = objective.learner if isinstance(objective, Objective) else None
  drawn = jax.eval_shape(tasks.sample, tasks.data, key)
  if learner is None or not isinstance(drawn, Episode) or not jnp.issubdtype(drawn.support.targets.dtype, jnp.integer):
    return
  check_task(learner, params, jax.tree.map(lambda leaf: leaf[0], sample_batch(tasks, key, 1)))


class _Progress:
  """One line that is overwritten: the step, the remaining time, and the metrics, the loss first."""

  def __init__(self, steps: int):
    self._steps, self._began = steps, time.monotonic()
    self._first: int | None = None

  def __call__(self, step: int, means: Mapping[str, float]) -> None:
    if self._first is None:  # the first row includes compile time
      self._first, self._began = step, time.monotonic()
    done = step - self._first
    left = f"  {(time.monotonic() - self._began) / done * (self._steps - step):.0f} s left" if done else ""
    end = "\n" if step >= self._steps else ""
    names = sorted((name for name in means if name != "gradient_norm"), key=lambda name: name != "loss")
    words = "".join(f"  {name} {means[name]:.4g}" for name in names)
    line = f"step {step} of {self._steps}{left}{words}"
    # A line that wraps could not be overwritten.
    print(f"\r{line[:shutil.get_terminal_size().columns - 1]}\x1b[K", end=end, file=sys.stderr, flush=True)
