"""The short path: meta-train, test and use a learner, each in one call."""

from dataclasses import dataclass, field
import functools
import sys
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metajax.checks import check_integers
from metajax.examples import examples
from metajax.training.evaluation import Estimate, make_evaluate
from metajax.training.loop import fit
from metajax.training.sharding import replicate, task_mesh, usable_devices
from metajax.training.step import TrainState, init_state, make_advance
from metajax.types import Array, Learner, Objective, Params, PerExample, PRNGKey, PyTree, TaskDistribution, Trainable

_ROWS = 20  # of progress
_SMALL = 10_000  # parameters; up to here a step is short, and many of them go into one dispatch


class Trained(NamedTuple):
  """What `train` returns."""
  params: Params
  state: TrainState  # to go on from: `train(..., state=trained.state, steps=more)`
  metrics: Mapping[str, list[float]]  # by name, and `step`: means over the steps of a row

  def __repr__(self) -> str:
    last = "  ".join(f"{name} {values[-1]:.4g}" for name, values in self.metrics.items() if name != "step")
    return f"Trained for {int(self.state.step)} steps. {last}".rstrip()


class Results(dict[str, Estimate]):
  """Test results by name, which print as mean ± 95 % interval."""

  def __repr__(self) -> str:
    return "  ".join(f"{name} {estimate}" for name, estimate in self.items())


def train(objective: Trainable, optimizer: optax.GradientTransformation, tasks: TaskDistribution, *, steps: int,
          tasks_per_step: int = 32, seed: int = 0, init: Callable[[PRNGKey, PyTree], Params] | None = None,
          state: TrainState | None = None, progress: bool = True) -> Trained:
  """Meta-trains on all devices there are, and returns the parameters.

  Args:
    objective: such as `objectives.conml(learner, loss)`.
    optimizer: the outer optimizer.
    tasks: where training tasks come from.
    steps: to have done in the end.
    tasks_per_step: tasks in a meta-batch, over all devices.
    seed: of the initial parameters and of the training tasks.
    init: `(key, inputs [N, ...]) -> params`, for an objective that knows of no learner; commonly `learner.init`.
    state: where to go on from; None begins anew. It is not changed.
    progress: whether to print a line on standard error as training goes on.

  Raises:
    ValueError: if the objective knows of no learner and `init` is not given, or a number is not positive.
    metajax.training.faults.NonFinite: if a step computes a non-finite value.
  """
  check_integers(steps=steps, tasks_per_step=tasks_per_step)
  if steps < 1 or tasks_per_step < 1:
    raise ValueError(f"training needs at least 1 step of 1 task, but got {steps} steps of {tasks_per_step} tasks.")
  init = init or (objective.init if isinstance(objective, Objective) else None)
  if init is None:
    raise ValueError("the objective knows of no learner to take the first parameters from; give init=learner.init.")
  key_init, key_train = jax.random.split(jax.random.key(seed))
  mesh = task_mesh(usable_devices(tasks_per_step))
  if state is None:
    state = init_state(init, optimizer, tasks, key_init, objective, tasks_per_step)
  state = replicate(jax.tree.map(jnp.copy, state), mesh)  # a copy, since a step takes the memory of what it is given
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


def evaluate(learner: Learner, params: Params, tasks: TaskDistribution, loss: PerExample,
             scores: Mapping[str, PerExample] | None = None, *, episodes: int = 600, seed: int = 0) -> Results:
  """Tests a learner on a frozen list of episodes; returns the mean and 95 % interval of the loss and of each score.

  Args:
    learner: the one that was trained, or the same with other inner steps.
    params: as trained.
    tasks: where test tasks come from.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    scores: further measures of the same form.
    episodes: how many, at least 2.
    seed: of the list: with the same seed every learner is tested on the same episodes.
  """
  run = make_evaluate(learner, loss, scores or {}, tasks, num_episodes=episodes, key=jax.random.key(seed))
  return Results(run(params))


@functools.partial(jax.tree_util.register_dataclass, data_fields=("params", "adapted"), meta_fields=("learner", "rank"))
@dataclass(frozen=True, eq=False)  # as a function, it is hashed by its identity
class Model:
  """A task model: called with inputs it returns predictions. A pytree, so it passes through `jit` and `vmap`."""
  params: Params = field(repr=False)
  adapted: PyTree = field(repr=False)
  learner: Learner = field(repr=False)
  rank: int  # axes of one input

  def __call__(self, inputs: PyTree) -> Array:
    """Returns predictions `[Q, ...]` for inputs `[Q, ...]`, or that of one input, which has no leading axis."""
    inputs = jax.tree.map(jnp.asarray, inputs)
    one = jnp.ndim(jax.tree.leaves(inputs)[0]) == self.rank
    queries = jax.tree.map(lambda leaf: leaf[None], inputs) if one else inputs
    mask = jnp.ones(jax.tree.leaves(queries)[0].shape[:1], bool)
    features = self.learner.embed(self.params, queries, mask)
    outputs = self.learner.predict(self.params, self.adapted, features, mask)
    return outputs[0] if one else outputs


def adapt(learner: Learner, params: Params, inputs: PyTree, targets: Any, *, key: PRNGKey | None = None) -> Model:
  """Learns one task from examples; returns its model, which predicts.

  >>> import jax, optax
  >>> import metajax
  >>> learner = metajax.learners.maml(metajax.networks.mlp((8,), 1), metajax.losses.squared_error,
  ...                                 optimizer=optax.sgd(0.01))
  >>> x, y = jax.numpy.ones((5, 1)), jax.numpy.ones((5, 1))
  >>> params = learner.init(jax.random.key(0), x)  # in earnest: `metajax.train(...).params`
  >>> model = metajax.adapt(learner, params, x, y)
  >>> model(jax.numpy.zeros((3, 1))).shape, model(jax.numpy.zeros(1)).shape
  ((3, 1), (1,))

  Args:
    learner, params: as trained.
    inputs: `[N, ...]`.
    targets: `[N]` integers, or `[N, ...]` reals.
    key: for a learner that draws; by default a fixed one.

  Raises:
    ValueError: if inputs and targets are not as many.
  """
  inputs, targets = jax.tree.map(jnp.asarray, inputs), jnp.asarray(targets)
  sizes = {len(leaf) if jnp.ndim(leaf) else 0 for leaf in (*jax.tree.leaves(inputs), targets)}
  if len(sizes) > 1 or 0 in sizes:
    raise ValueError("inputs and targets must be as many, and at least one, but their shapes are "
                     f"{jax.tree.map(jnp.shape, inputs)} and {jnp.shape(targets)}.")
  support = examples(inputs, targets)
  features = learner.embed(params, inputs, support.mask)
  adapted = learner.adapt(params, support._replace(inputs=features), jax.random.key(0) if key is None else key)
  return Model(params, adapted, learner, jnp.ndim(jax.tree.leaves(inputs)[0]) - 1)


class _Progress:
  """One line, written anew: the step, what it measured, and the time left."""

  def __init__(self, steps: int):
    self._steps, self._began = steps, time.monotonic()
    self._first: int | None = None

  def __call__(self, step: int, means: Mapping[str, float]) -> None:
    if self._first is None:  # its time went into compiling
      self._first, self._began = step, time.monotonic()
    done = step - self._first
    left = f"  {(time.monotonic() - self._began) / done * (self._steps - step):.0f} s left" if done else ""
    end = "\n" if step >= self._steps else ""
    words = "  ".join(f"{name} {means[name]:.4g}" for name in means if name != "gradient_norm")
    print(f"\rstep {step} of {self._steps}  {words}{left}\x1b[K", end=end, file=sys.stderr, flush=True)
