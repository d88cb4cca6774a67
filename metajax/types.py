"""The interfaces: what an episode, a network, a learner, an objective and a task distribution are.

Letters used in every docstring of the library:
`T` tasks in a meta-batch, `N` support examples, `Q` query examples, `K` views of a task, `C` classes (ways),
`D` features. Functions are written for one task; objectives and evaluation `vmap` them over tasks.
"""

from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping, NamedTuple

import jax
from jax import export

Array = jax.Array
PyTree = Any
PRNGKey = jax.Array  # a typed key, `jax.random.key(seed)`
Params = PyTree
Metrics = Mapping[str, Array]


class Examples(NamedTuple):
  """One labelled set: a task's support set, its query set, or any subset of the two."""
  inputs: PyTree  # [N, ...]
  targets: Array  # [N] integers in [0, C), or [N, ...] reals
  mask: Array  # [N] bool; False marks padding, which must not affect any result


class Episode(NamedTuple):
  """One task, split into a support and a query set ("train as you test", Vinyals et al., 2016)."""
  support: Examples
  query: Examples


# So that `jax.export` can write programs that take tasks.
for _each in (Examples, Episode):
  export.register_namedtuple_serialization(_each, serialized_name=f"metajax.{_each.__name__}")


class Network(NamedTuple):
  """A network as two pure functions, independent of the library it was written in.

  init:  (key, inputs [N, ...])                        -> params
  apply: (params, inputs [N, ...], mask [N] of bool)   -> outputs [N, ...]

  `apply` takes the mask because a network that normalises over its batch must leave padding out.

  independent: whether each output depends on its own input only. It does not if activations are normalised over the
  batch. Learners use it to save work; False is always safe.
  in_training: key -> Network   the network in training, if it differs: with dropout drawn from the key, or batch
  normalisation that updates its running averages (`network_state`). Objectives train this form; tests and predictions
  use the network itself.
  """
  init: Callable[[PRNGKey, PyTree], Params]
  apply: Callable[[Params, PyTree, Array], Array]
  independent: bool = False
  in_training: Callable[[PRNGKey], "Network"] | None = None


class SequenceNetwork(NamedTuple):
  """A network over `L` tokens with given positions and attention mask, as two pure functions.

  init:  (key, tokens [L, features])                                              -> params
  apply: (params, tokens [L, features], positions [L], attends [L, L] of bool)    -> outputs [L, num_outputs]

  `positions` are integers; token i attends to token j where `attends[i, j]` is true.

  max_tokens: the number of positions; every position is below it. None means no limit.
  """
  init: Callable[[PRNGKey, Array], Params]
  apply: Callable[[Params, Array, Array, Array], Array]
  max_tokens: int | None = None


class FilmNetwork(NamedTuple):
  """A network modulated by a vector of FiLM parameters, as two pure functions.

  init:  (key, inputs [N, ...])                                     -> params
  apply: (params, film [num_film], inputs [N, ...], mask [N])       -> features [N, D]

  With `film` all zeros the network is unmodulated.
  """
  init: Callable[[PRNGKey, Array], Params]
  apply: Callable[[Params, Array, Array, Array], Array]
  num_film: int


class Learner(NamedTuple):
  """An algorithm that learns one task from examples, `h = g(D; theta)`, as pure functions.

  init:      (key, inputs [N, ...])                     -> params     theta, shared by all tasks
  embed:     (params, inputs [N, ...], mask [N])        -> features   task-independent, computed once per example
  adapt:     (params, examples of features, key)        -> adapted    everything learned about one task
  predict:   (params, adapted, features [Q, ...], mask) -> outputs [Q, ...]
  represent: (params, adapted, key)                     -> psi(h): a pytree of reals, read as one long vector
  adapt_both: (params, support, query, key)             -> adapted to the support set, adapted to support and query

  in_training: key -> Learner                           the learner on its networks in training (`Network.in_training`)

  The last two are optional. `adapt_both` gives the same results as two calls of `adapt`, at a lower cost.

  Within one task, an objective passes the same key to every call of `adapt` and `represent`, so that two models of the
  task differ only in their examples. The key of `represent` is the same for all tasks of a meta-batch.
  """
  init: Callable[[PRNGKey, PyTree], Params]
  embed: Callable[[Params, PyTree, Array], PyTree]
  adapt: Callable[[Params, Examples, PRNGKey], PyTree]
  predict: Callable[[Params, PyTree, PyTree, Array], Array]
  represent: Callable[[Params, PyTree, PRNGKey], PyTree]
  adapt_both: Callable[[Params, Examples, Examples, PRNGKey], tuple[PyTree, PyTree]] | None = None
  in_training: Callable[[PRNGKey], "Learner"] | None = None


# (params, tasks with leading T, key) -> (loss, metrics), all scalars
LossFunction = Callable[[Params, Any, PRNGKey], tuple[Array, Metrics]]


@dataclass(frozen=True)
class Objective:
  """What meta-training minimises; called as `(params, tasks with leading T, key) -> (loss, metrics)`, all scalars.

  function:  (params, tasks, key, axis_name) -> (loss, metrics)
  init:      (key, inputs [N, ...])          -> the learner's params; None if the objective has no learner
  axis_name: the mapped axis over which tasks are sharded, if any; `training` sets it
  learner:   the learner, if there is one; training then checks the labels of a task before anything is compiled

  If tasks are sharded over devices, the loss averaged over devices must equal the loss of all tasks. A plain mean over
  tasks does; anything else, such as the contrast, must communicate over the axis.
  """
  function: Callable[[Params, Any, PRNGKey, str | None], tuple[Array, Metrics]]
  init: Callable[[PRNGKey, PyTree], Params] | None = None
  axis_name: str | None = None
  learner: Learner | None = None

  def __call__(self, params: Params, tasks: Any, key: PRNGKey) -> tuple[Array, Metrics]:
    return self.function(params, tasks, key, self.axis_name)

  def over(self, axis_name: str | None) -> "Objective":
    """Returns the same objective for tasks that are sharded over a mapped axis."""
    return replace(self, axis_name=axis_name)


class Estimator(NamedTuple):
  """How the gradient of a step is computed, and what is carried from one step to the next.

  init:     (params, tasks with leading T, key)              -> carry, every leaf `[T, ...]`, or () for nothing
  estimate: (params, carry, tasks with leading T, key, step) -> gradient, carry, metrics

  The first axis of every leaf of the carry is the task slot; slots are sharded over devices as tasks are. `estimate`
  returns the gradient of a device's own tasks, and the step averages it over devices. `estimators.differentiate`
  turns an objective into an estimator by plain differentiation; it carries nothing.
  """
  init: Callable[[Params, PyTree, PRNGKey], PyTree]
  estimate: Callable[[Params, PyTree, PyTree, PRNGKey, Array], tuple[Params, PyTree, Metrics]]


# What a step accepts: an objective or a loss function, which it differentiates, or an estimator.
Trainable = Objective | LossFunction | Estimator


class TaskDistribution(NamedTuple):
  """Where tasks come from: a pure, compiled draw of one task from arrays that stay on the device.

  sample: (data, key) -> task      one task: an Episode, or any pytree that the objective takes
  data:   the arrays that `sample` reads; `()` for a formula. They are an argument of the program, never a constant.
  at_step: (data, step) -> data    the arrays at a given step of training, for a curriculum. Unchanged by default.
  listed: (data, key, index) -> Episode   the test task at an index, for distributions of few tasks that must each be
                                   tested equally often. By default tasks are drawn as in training.
  keys:   (data, key, indices [T]) -> keys [T], of the tasks at these indices of the list that `key` defines. By default
          each task is drawn independently.
  example: task -> inputs [N, ...]   the inputs that the learner's parameters are initialised for. By default those of
          an episode's support set.
  """
  sample: Callable[[PyTree, PRNGKey], Episode]
  data: PyTree = ()
  at_step: Callable[[PyTree, Array], PyTree] = lambda data, step: data
  listed: Callable[[PyTree, PRNGKey, Array], Episode] | None = None
  keys: Callable[[PyTree, PRNGKey, Array], PRNGKey] = lambda data, key, indices: jax.vmap(
      jax.random.fold_in, (None, 0))(key, indices)
  example: Callable[[Any], PyTree] = lambda task: task.support.inputs


# A per-example measure of outputs [Q, ...] against targets [Q, ...]: a loss or a score, as [Q].
PerExample = Callable[[Array, Array], Array]

# A measure of all outputs [Q, ...] against targets [Q, ...] where a mask [Q] is true, as a scalar.
PerSet = Callable[[Array, Array, Array], Array]
