"""The contracts: what an episode, a network, a learner, an objective and a task distribution are.

The letters, used in every docstring of the library:
`T` tasks in a meta-batch, `N` support examples, `Q` query examples, `K` views of a task, `C` classes (ways),
`D` features. Functions are written for one task; only objectives and evaluation put `vmap` above them.
"""

from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple, Protocol

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


@dataclass(frozen=True)
class Shifted:
  """A `represent` that knows what all tasks share of psi; ConML measures the rest, with more digits and less work.

  psi:   (params, adapted, key) -> psi(h)
  shift: (params, psi(h))       -> an origin, the same for all tasks, and psi(h) less the origin; their derivatives must
                                   add up to that of psi, and either may be a constant
  """
  psi: Callable[[Params, PyTree, PRNGKey], PyTree]
  shift: Callable[[Params, PyTree], tuple[PyTree, PyTree]]

  def __call__(self, params: Params, adapted: PyTree, key: PRNGKey) -> PyTree:
    return self.psi(params, adapted, key)


class Learner(NamedTuple):
  """A way of learning one task from examples, `h = g(D; theta)`, as five pure functions and perhaps a sixth.

  init:      (key, inputs [N, ...])                     -> params     theta, shared by all tasks
  embed:     (params, inputs [N, ...], mask [N])        -> features   what no task changes, once per example
  adapt:     (params, examples of features, key)        -> adapted    all that is learned of one task
  predict:   (params, adapted, features [Q, ...], mask) -> outputs [Q, ...]
  represent: (params, adapted, key)                     -> psi(h): a pytree of reals, read as one long vector
  adapt_both: (params, support, query, key)             -> adapted to the support set, adapted to support and query

  `adapt_both` is for a learner that can do the two cheaper than by calling `adapt` twice, with the same results;
  `Shifted` is a `represent` for one whose psi is a little more than what all tasks begin with.

  An objective gives `adapt` and `represent` the same key for every set it learns from in one task, so that two
  models of a task differ by their examples alone. The key of `represent` is the same for all tasks of a meta-batch.
  """
  init: Callable[[PRNGKey, PyTree], Params]
  embed: Callable[[Params, PyTree, Array], PyTree]
  adapt: Callable[[Params, Examples, PRNGKey], PyTree]
  predict: Callable[[Params, PyTree, PyTree, Array], Array]
  represent: Callable[[Params, PyTree, PRNGKey], PyTree]
  adapt_both: Callable[[Params, Examples, Examples, PRNGKey], tuple[PyTree, PyTree]] | None = None


class Objective(Protocol):
  """What meta-training minimises: `(params, episodes with leading T, key) -> (loss, metrics)`, all scalars."""

  def __call__(self, params: Params, episodes: Episode, key: PRNGKey) -> tuple[Array, Metrics]:
    ...


class TaskDistribution(NamedTuple):
  """Where tasks come from: a pure, compiled draw of one episode from arrays that stay on the device.

  sample: (data, key) -> Episode   one task
  data:   the arrays that `sample` reads; `()` for a formula. An argument, never a constant of the program.
  at_step: (data, step) -> data    what they are at a step of training: a curriculum. By default the same throughout.
  listed: (data, key, place) -> Episode   what stands at a place of a test list, where the tasks are few and each is to
                                   be met as often as any other. By default a draw like those of training.
  keys:   (data, key, places [T]) -> keys [T], of the tasks at some places of the list that `key` stands for. By default
          each task is drawn apart.
  """
  sample: Callable[[PyTree, PRNGKey], Episode]
  data: PyTree = ()
  at_step: Callable[[PyTree, Array], PyTree] = lambda data, step: data
  listed: Callable[[PyTree, PRNGKey, Array], Episode] | None = None
  keys: Callable[[PyTree, PRNGKey, Array], PRNGKey] = lambda data, key, places: jax.vmap(
      jax.random.fold_in, (None, 0))(key, places)


# A per-example measure of outputs [Q, ...] against targets [Q, ...]: a loss or a score, as [Q].
PerExample = Callable[[Array, Array], Array]

# A measure of a whole set of outputs [Q, ...] against targets [Q, ...], of which a mask [Q] says which there are: [].
PerSet = Callable[[Array, Array, Array], Array]
