"""Augmentations of whole tasks, for any task distribution: permuted labels, label noise, mixed tasks, hard tasks.

Each returns a task distribution whose draw still depends only on the task's key.
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.examples import zero_padding
from metajax.networks.mixture import Mixture
from metajax.types import Array, Episode, Examples, PRNGKey, TaskDistribution


def permuted_labels(tasks: TaskDistribution, ways: int) -> TaskDistribution:
  """Returns the same tasks with their labels in [0, ways) permuted at random, support and query alike.

  For tasks whose labels have a fixed meaning: once permuted, the learner needs the support set to know the labels.
  Rajendran et al., Meta-Learning Requires Meta-Augmentation, 2020, https://arxiv.org/abs/2007.05549.

  Raises:
    ValueError: for fewer than 2 ways.
  """
  _check_ways(ways)

  def sample(data, key):
    key_task, key_order = jax.random.split(key)
    order = jax.random.permutation(key_order, ways)
    part = lambda examples: examples._replace(targets=order[examples.targets].astype(examples.targets.dtype))
    return Episode(*map(part, tasks.sample(data, key_task)))

  return tasks._replace(sample=sample)


def noisy_labels(tasks: TaskDistribution, ways: int, *, support: float, query: float = 0.0) -> TaskDistribution:
  """Returns the same tasks with label noise: wrong labels are uniform over the other `ways - 1` classes.

  Args:
    tasks: with integer targets in [0, ways).
    ways: the number of classes of each task.
    support, query: the probability that an example of the set is mislabelled.

  Raises:
    ValueError: for fewer than 2 ways, or a probability outside [0, 1].
  """
  _check_ways(ways)
  for name, chance in (("support", support), ("query", query)):
    if not 0 <= chance <= 1:
      raise ValueError(f"the share of wrong labels in the {name} set must be in [0, 1], but it is {chance}.")

  def mislabelled(key: PRNGKey, part: Examples, chance: float) -> Examples:
    key_which, key_other = jax.random.split(key)
    wrong = jax.random.bernoulli(key_which, chance, part.targets.shape)
    step = jax.random.randint(key_other, part.targets.shape, 1, ways).astype(part.targets.dtype)
    return part._replace(targets=jnp.where(wrong, (part.targets + step) % ways, part.targets))

  def sample(data, key):
    key_task, key_support, key_query = jax.random.split(key, 3)
    episode = tasks.sample(data, key_task)
    return Episode(mislabelled(key_support, episode.support, support), mislabelled(key_query, episode.query, query))

  return tasks._replace(sample=sample)


def interpolated(tasks: TaskDistribution, *, share: float = 0.5, concentration: float = 0.5, stages: int = 1
                 ) -> TaskDistribution:
  """Returns tasks of which a fraction is interpolated between two tasks, with weights `weight` and `1 - weight`.

  Inputs and real targets are interpolated. For classification, class c of one task is mixed with class c of the other:
  examples at the same index with the same label, as `class_tasks` orders them; other examples become padding. MLTI, Yao
  et al., Meta-Learning with Fewer Tasks through Task Interpolation, 2022, https://arxiv.org/abs/2106.02695, eqs. 5, 7.

  Args:
    tasks: with real inputs.
    share: the probability that a task is mixed.
    concentration: both parameters of the beta distribution of the weight.
    stages: mix before one of the first `stages` layers, drawn for each task; the first is the input. With more than 1,
      inputs are `networks.mixture.Mixture`, which mlp and conv4 accept, and the cost is that of two tasks.

  Raises:
    ValueError: for a share outside [0, 1], a concentration that is not positive, or fewer than 1 stage.
  """
  if stages < 1:
    raise ValueError(f"tasks must be mixed at 1 or more layers, but stages is {stages}.")
  if not 0 <= share <= 1:
    raise ValueError(f"the share of mixed tasks must be in [0, 1], but it is {share}.")
  if not concentration > 0:
    raise ValueError(f"the concentration of the beta distribution must be positive, but it is {concentration}.")

  def mixed(weight: Array, stage: Array, one: Examples, other: Examples) -> Examples:
    blend = lambda a, b: (weight * a + (1 - weight) * b).astype(a.dtype)
    if stages == 1:
      inputs = jax.tree.map(blend, one.inputs, other.inputs)
    else:
      each = lambda value: jnp.broadcast_to(value, one.mask.shape)
      inputs = Mixture(one.inputs, other.inputs, each(weight), each(stage))
    if jnp.issubdtype(one.targets.dtype, jnp.integer):
      # If nothing is mixed, the other task's labels do not matter.
      alike = (one.targets == other.targets) & other.mask | (weight == 1)
      return Examples(inputs, one.targets, one.mask & alike)
    return Examples(inputs, blend(one.targets, other.targets), one.mask & (other.mask | (weight == 1)))

  def sample(data, key):
    key_one, key_other, key_weight, key_share = jax.random.split(key, 4)
    weight = jax.random.beta(key_weight, concentration, concentration)
    weight = jnp.where(jax.random.bernoulli(key_share, share), weight, 1.0)
    stage = jax.random.randint(jax.random.fold_in(key_share, 1), (), 0, stages)
    return Episode(*(mixed(weight, stage, one, other) for one, other in
                     zip(tasks.sample(data, key_one), map(zero_padding, tasks.sample(data, key_other)))))

  return tasks._replace(sample=sample)


def hardest_of(tasks: TaskDistribution, count: int, difficulty: Callable[[Episode], Array]) -> TaskDistribution:
  """Returns tasks each of which is the hardest of `count` draws.

  Args:
    tasks: any task distribution.
    count: at least 2; all are drawn, so sampling takes `count` times as long.
    difficulty: maps an episode to a scalar, such as the loss of an untrained learner on raw inputs.

  Raises:
    ValueError: for a count below 2.
  """
  if count < 2:
    raise ValueError(f"the hardest task must be chosen from at least 2 tasks, but count is {count}.")

  def sample(data, key):
    drawn = jax.vmap(tasks.sample, (None, 0))(data, jax.random.split(key, count))
    hardest = jnp.argmax(jax.vmap(difficulty)(drawn))
    return jax.tree.map(lambda leaf: leaf[hardest], drawn)

  return tasks._replace(sample=sample)


def _check_ways(ways: int) -> None:
  if ways < 2:
    raise ValueError(f"labels can only be changed among at least 2 classes, but ways is {ways}.")
