"""The contracts: what an episode, a network, a learner, an objective and a task distribution are.

The letters, used in every docstring of the library:
`T` tasks in a meta-batch, `N` support examples, `Q` query examples, `K` views of a task, `C` classes (ways),
`D` features. Functions are written for one task; only objectives and evaluation put `vmap` above them.
"""

from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping, NamedTuple

import jax

Array = jax.Array
PyTree = Any
PRNGKey = jax.Array  # a typed key, `jax.random.key(seed)`
Params = PyTree
Metrics = Mapping[str, Array]


class Examples(NamedTuple):
  """One labelled set: a task's support, its query, or any subset of both."""
  inputs: PyTree  # [N, ...]
  targets: Array  # [N] integers in [0, C), or [N, ...] reals
  mask: Array  # [N] bool; False marks padding, which no result may depend on


class Episode(NamedTuple):
  """One task, split as "train as you test" demands (Vinyals et al., 2016)."""
  support: Examples
  query: Examples


class Network(NamedTuple):
  """A network as two pure functions, whatever library it was written with.

  init:  (key, inputs [N, ...])                        -> params
  apply: (params, inputs [N, ...], mask [N] of bool)   -> outputs [N, ...]

  `apply` takes the mask because a network that normalises over its batch must leave padding out.

  independent: whether each output depends on its own input alone, as it does not where activations are normalised over
  the batch. Learners make use of it; False is always right.
  """
  init: Callable[[PRNGKey, PyTree], Params]
  apply: Callable[[Params, PyTree, Array], Array]
  independent: bool = False


class SequenceNetwork(NamedTuple):
  """A network over `L` tokens whose places and sight are given, as two pure functions.

  init:  (key, tokens [L, features])                                        -> params
  apply: (params, tokens [L, features], places [L], sight [L, L] of bool)   -> outputs [L, num_outputs]

  `places` are integers; token i sees token j where `sight[i, j]`.

  max_tokens: the number of places there are, so that each is below it; None is no limit.
  """
  init: Callable[[PRNGKey, Array], Params]
  apply: Callable[[Params, Array, Array, Array], Array]
  max_tokens: int | None = None


class FilmNetwork(NamedTuple):
  """A network modulated by a vector, as two pure functions.

  init:  (key, inputs [N, ...])                                     -> params
  apply: (params, film [num_film], inputs [N, ...], mask [N])       -> features [N, D]

  A `film` of zeros leaves the network as it is.
  """
  init: Callable[[PRNGKey, Array], Params]
  apply: Callable[[Params, Array, Array, Array], Array]
  num_film: int


class Learner(NamedTuple):
  """A way of learning one task from examples, `h = g(D; theta)`, as five pure functions and perhaps a sixth.

  init:      (key, inputs [N, ...])                     -> params     theta, shared by all tasks
  embed:     (params, inputs [N, ...], mask [N])        -> features   what no task changes, once per example
  adapt:     (params, examples of features, key)        -> adapted    all that is learned of one task
  predict:   (params, adapted, features [Q, ...], mask) -> outputs [Q, ...]
  represent: (params, adapted, key)                     -> psi(h): a pytree of reals, read as one long vector
  adapt_both: (params, support, query, key)             -> adapted to the support set, adapted to support and query

  `adapt_both` is for a learner that can do the two cheaper than by calling `adapt` twice, with the same results.

  An objective gives `adapt` and `represent` the same key for every set it learns from in one task, so that two
  models of a task differ by their examples alone. The key of `represent` is the same for all tasks of a meta-batch.
  """
  init: Callable[[PRNGKey, PyTree], Params]
  embed: Callable[[Params, PyTree, Array], PyTree]
  adapt: Callable[[Params, Examples, PRNGKey], PyTree]
  predict: Callable[[Params, PyTree, PyTree, Array], Array]
  represent: Callable[[Params, PyTree, PRNGKey], PyTree]
  adapt_both: Callable[[Params, Examples, Examples, PRNGKey], tuple[PyTree, PyTree]] | None = None


# (params, tasks with leading T, key) -> (loss, metrics), all scalars
LossFunction = Callable[[Params, Any, PRNGKey], tuple[Array, Metrics]]


@dataclass(frozen=True)
class Objective:
  """What meta-training minimises; called as `(params, tasks with leading T, key) -> (loss, metrics)`, all scalars.

  function:  (params, tasks, key, axis_name) -> (loss, metrics)
  init:      (key, inputs [N, ...])          -> params, the learner's; None if the objective knows of none
  axis_name: the mapped axis over which tasks are spread, if any; `training` sets it, so that nobody else has to

  Where tasks are spread over devices, the mean over devices of the loss must be that over all tasks. Of a plain mean
  over tasks it is; anything else, as the contrast, has to talk over the axis.
  """
  function: Callable[[Params, Any, PRNGKey, str | None], tuple[Array, Metrics]]
  init: Callable[[PRNGKey, PyTree], Params] | None = None
  axis_name: str | None = None

  def __call__(self, params: Params, tasks: Any, key: PRNGKey) -> tuple[Array, Metrics]:
    return self.function(params, tasks, key, self.axis_name)

  def over(self, axis_name: str | None) -> "Objective":
    """Returns the same objective of tasks that are spread over a mapped axis."""
    return replace(self, axis_name=axis_name)


class Estimator(NamedTuple):
  """How the gradient of a step is made, and what is carried from one step to the next.

  init:     (params, tasks with leading T, key)              -> carry, every leaf `[T, ...]`, or () for nothing
  estimate: (params, carry, tasks with leading T, key, step) -> gradient, carry, metrics

  A leaf of the carry leads with the task slot, and slots are sharded over devices as tasks are. `estimate` returns the
  gradient of a device's own tasks; the step averages it over the devices. `estimators.differentiate` makes the
  estimator of an objective that is differentiated as it stands, which carries nothing.
  """
  init: Callable[[Params, PyTree, PRNGKey], PyTree]
  estimate: Callable[[Params, PyTree, PyTree, PRNGKey, Array], tuple[Params, PyTree, Metrics]]


# What a step can be made of: an objective or a function, which is differentiated, or an estimator.
Trainable = Objective | LossFunction | Estimator


class TaskDistribution(NamedTuple):
  """Where tasks come from: a pure, compiled draw of one task from arrays that stay on the device.

  sample: (data, key) -> task      one task: an Episode, or whatever pytree the objective takes
  data:   the arrays that `sample` reads; `()` for a formula. An argument, never a constant of the program.
  at_step: (data, step) -> data    what they are at a step of training: a curriculum. By default the same throughout.
  listed: (data, key, place) -> Episode   what stands at a place of a test list, where the tasks are few and each is to
                                   be met as often as any other. By default a draw like those of training.
  keys:   (data, key, places [T]) -> keys [T], of the tasks at some places of the list that `key` stands for. By default
          each task is drawn apart.
  example: task -> inputs [N, ...]   what the learner's parameters are initialised for. By default the inputs of an
          episode's support set.
  """
  sample: Callable[[PyTree, PRNGKey], Episode]
  data: PyTree = ()
  at_step: Callable[[PyTree, Array], PyTree] = lambda data, step: data
  listed: Callable[[PyTree, PRNGKey, Array], Episode] | None = None
  keys: Callable[[PyTree, PRNGKey, Array], PRNGKey] = lambda data, key, places: jax.vmap(
      jax.random.fold_in, (None, 0))(key, places)
  example: Callable[[Any], PyTree] = lambda task: task.support.inputs


# A per-example measure of outputs [Q, ...] against targets [Q, ...]: a loss or a score, as [Q].
PerExample = Callable[[Array, Array], Array]

# A measure of a whole set of outputs [Q, ...] against targets [Q, ...], of which a mask [Q] says which there are: [].
PerSet = Callable[[Array, Array, Array], Array]
