"""The laws that every learner must satisfy, as a check of one's own learner in one's own tests."""

from dataclasses import dataclass
from typing import Any, Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from metajax.kinds import check_key, checked
from metajax.objectives.conml import conml
from metajax.objectives.solve import solve
from metajax.tasks.sampling import sample_batch
from metajax.types import Episode, Examples, Learner, Params, PerExample, PRNGKey, PyTree, TaskDistribution

_PADDING = 3  # rows added
_TOLERANCE = 1e-3  # relative, of float32 summed in another order


@dataclass(frozen=True)
class Verdict:
  """Which laws a learner keeps, and a sentence for each that it breaks. Printed as these sentences."""
  kept: tuple[str, ...]
  broken: tuple[str, ...]

  @property
  def right(self) -> bool:
    """Whether no law is broken."""
    return not self.broken

  def __repr__(self) -> str:
    return "\n".join([*self.broken, f"{len(self.kept)} laws hold: {', '.join(self.kept)}."])


@checked
def check_learner(learner: Learner, tasks: TaskDistribution, loss: PerExample, *, key: PRNGKey | None = None,
                  tolerance: float = _TOLERANCE) -> Verdict:
  """Returns which laws a learner keeps on a few tasks; `assert check_learner(...).right` is a test of it.

  The laws: shapes are static, padding changes nothing, gradients are finite (also where a task lacks examples), the
  same key gives the same result, tasks do not influence each other, a task model has the same shapes for every set of
  examples, and `adapt_both`, if there is one, is two calls of `adapt`.

  >>> import optax
  >>> from metajax import learners, losses, networks, tasks
  >>> from metajax.training import check_learner
  >>> learner = learners.maml(networks.mlp((8,), 1), losses.squared_error, optimizer=optax.sgd(0.01))
  >>> check_learner(learner, tasks.sinusoids(shots=3, queries=4), losses.squared_error).right
  True

  Args:
    learner: the learner.
    tasks: a distribution of episodes.
    loss: `(outputs [Q, ...], targets [Q, ...]) -> [Q]`.
    key: for parameters, tasks and the learner; fixed by default.
    tolerance: the largest relative difference of results that should be equal.
  """
  key = jax.random.key(0) if key is None else key
  check_key("check_learner", key)
  episodes = sample_batch(tasks, key, 3)
  kept: list[str] = []
  broken: list[str] = []
  try:
    params = jax.jit(learner.init)(key, jax.tree.map(lambda leaf: leaf[0], episodes.support.inputs))
  except Exception as error:  # of any type: it is the learner's
    return Verdict((), (f"init cannot be compiled: {_first_line(error)}.",))
  for name, law in _LAWS:
    try:
      breaches = list(law(learner, params, episodes, loss, key, tolerance))
    except Exception as error:  # of any type: it is the learner's
      breaches = [f"it cannot be computed ({_first_line(error)})"]
    broken += [f"{name}: {breach}." for breach in breaches]
    kept += [] if breaches else [name]
  return Verdict(tuple(kept), tuple(broken))


def _static(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
            ) -> Iterator[str]:
  try:
    jax.eval_shape(conml(learner, loss), params, episodes, key)
  except jax.errors.ConcretizationTypeError:
    yield ("a Python decision, such as `if`, depends on a value; use jnp.where or jax.lax.cond")
  except jax.errors.NonConcreteBooleanIndexError:
    yield ("an array is indexed by booleans, whose number is not known; use jnp.where(mask, ...)")


def _padding(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
             ) -> Iterator[str]:
  episode = _one(episodes)
  padded = Episode(*map(_padded, episode))
  plain, more = (_outcome(learner, loss)(params, each, key) for each in (episode, padded))
  count = len(episode.query.mask)
  if not _close(plain[0], more[0][:count], tolerance):
    yield "predictions change when examples with mask False are added; leave them out with jnp.where(mask, ...)"
  if not _close(plain[1], more[1], tolerance):
    yield "the representation changes when examples with mask False are added; leave them out with jnp.where(mask, ...)"


def _finite(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
            ) -> Iterator[str]:
  gradient = jax.jit(lambda params, episodes: jax.value_and_grad(conml(learner, loss), has_aux=True)(
      params, episodes, key))
  mask = episodes.support.mask
  half = mask.at[:, mask.shape[1] // 2:].set(False)
  for said, support in (("all examples", mask), ("half of the support examples", half),
                        ("no support example", mask & False)):
    given = episodes._replace(support=episodes.support._replace(mask=support))
    (value, _), found = gradient(params, given)
    if not np.isfinite(value):
      yield f"the loss is not finite with {said}"
    elif not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)):
      yield (f"the gradient is not finite with {said}; the derivative of a root, a norm or a division at zero is not, "
             "even where jnp.where does not choose it")


def _same(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
          ) -> Iterator[str]:
  first, second = (_outcome(learner, loss)(params, _one(episodes), key) for _ in range(2))
  if not _close(first, second, 0.0):
    yield "two calls with the same key differ; draw from the given key alone"


def _alone(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
           ) -> Iterator[str]:
  outcome = _outcome(learner, loss)
  together = jax.vmap(outcome, in_axes=(None, 0, None))(params, episodes, key)
  if not _close(outcome(params, _one(episodes), key), _one(together), tolerance):
    yield "a task has another result among other tasks than alone"


def _shapes(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
            ) -> Iterator[str]:
  def psi(examples):
    features = examples._replace(inputs=learner.embed(params, examples.inputs, examples.mask))
    return learner.represent(params, learner.adapt(params, features, key), key)

  episode = _one(episodes)
  shapes = [jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), jax.eval_shape(psi, part))
            for part in (episode.support, _padded(episode.support))]
  if str(shapes[0]) != str(shapes[1]):
    yield (f"represent returns other shapes for another number of examples, {shapes[0]} and {shapes[1]}; a class "
           "without examples is zeros, not missing")
  first, second = (jax.jit(psi)(jax.tree.map(lambda leaf: leaf[place], episodes.support)) for place in (0, 1))
  if _close(first, second, 0.0):
    yield "represent is the same for two different tasks, so ConML has nothing to compare"


def _both(learner: Learner, params: Params, episodes: Episode, loss: PerExample, key: PRNGKey, tolerance: float
          ) -> Iterator[str]:
  if learner.adapt_both is None:
    return
  solved = lambda each: jax.jit(
      lambda params: solve(each, loss, {}, params, _one(episodes), key, whole=True)[2:])(params)
  if not _close(solved(learner), solved(learner._replace(adapt_both=None)), tolerance):
    yield "adapt_both differs from two calls of adapt"


_LAWS: tuple[tuple[str, Callable[..., Iterator[str]]], ...] = (
    ("shapes are static", _static), ("padding changes nothing", _padding), ("gradients are finite", _finite),
    ("a key gives one result", _same), ("tasks are independent", _alone), ("representations agree", _shapes),
    ("adapt_both is two adapts", _both))


def _outcome(learner: Learner, loss: PerExample) -> Callable[[Params, Episode, PRNGKey], tuple[PyTree, PyTree]]:
  """Returns a compiled function to a task's predictions and representation."""

  def outcome(params, episode, key):
    solved = solve(learner, loss, {}, params, episode, key)
    return solved.outputs, learner.represent(params, solved.adapted, key)

  return jax.jit(outcome)


def _padded(examples: Examples) -> Examples:
  """Returns the examples with rows of padding after them, whose values are those of the first rows."""
  longer = lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[:1], _PADDING, axis=0)])
  return Examples(jax.tree.map(longer, examples.inputs), longer(examples.targets),
                  jnp.concatenate([examples.mask, jnp.zeros(_PADDING, bool)]))


def _one(tree: PyTree) -> Any:
  return jax.tree.map(lambda leaf: leaf[0], tree)


def _close(first: PyTree, second: PyTree, tolerance: float) -> bool:
  pairs = [[np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)] for tree in (first, second)]
  near = lambda a, b: np.allclose(a, b, rtol=tolerance, atol=tolerance * max(1e-3, np.abs(a).max(initial=0)))
  return all(a.shape == b.shape and near(a, b) for a, b in zip(*pairs, strict=True))


def _first_line(error: Exception) -> str:
  return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
