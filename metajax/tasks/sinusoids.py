"""Sinusoids: the regression tasks of MAML, sampled on the device.

`y = A sin(x - phase)` with amplitude `A` in [0.1, 5], phase in [0, pi], `x` in [-5, 5], each uniform.
Finn et al., 2017, section 5.1, https://arxiv.org/abs/1703.03400.
"""

import jax
import jax.numpy as jnp

from metajax.checks import check_integers, check_reals
from metajax.examples import examples
from metajax.types import Episode, TaskDistribution


def sinusoids(shots: int, queries: int, *, amplitude: tuple[float, float] = (0.1, 5.0),
              phase: tuple[float, float] = (0.0, jnp.pi), span: tuple[float, float] = (-5.0, 5.0)) -> TaskDistribution:
  """Returns the distribution of sinusoids, with inputs and targets `[shots, 1]` and `[queries, 1]`.

  Raises:
    ValueError: if there is no support or no query point, or a range is reversed.

  >>> import jax
  >>> from metajax.tasks.sinusoids import sinusoids
  >>> tasks = sinusoids(shots=10, queries=5)
  >>> keys = jax.random.split(jax.random.key(0), 32)  # one key per task
  >>> episodes = jax.vmap(lambda key: tasks.sample(tasks.data, key))(keys)
  >>> episodes.support.inputs.shape, episodes.query.targets.shape
  ((32, 10, 1), (32, 5, 1))
  """
  check_integers(shots=shots, queries=queries)
  if shots < 1 or queries < 1:
    raise ValueError(f"a sinusoid task needs at least 1 support and 1 query point, but got {shots} and {queries}.")
  for name, (low, high) in (("amplitude", amplitude), ("phase", phase), ("span", span)):
    check_reals(**{f"the low end of {name}": low, f"the high end of {name}": high})
    if low > high:
      raise ValueError(f"the range of {name} must go from low to high, but it is [{low}, {high}].")

  def sample(data, key):
    del data  # a formula
    key_amplitude, key_phase, key_inputs = jax.random.split(key, 3)
    height = jax.random.uniform(key_amplitude, minval=amplitude[0], maxval=amplitude[1])
    shift = jax.random.uniform(key_phase, minval=phase[0], maxval=phase[1])
    inputs = jax.random.uniform(key_inputs, (shots + queries, 1), minval=span[0], maxval=span[1])
    targets = height * jnp.sin(inputs - shift)
    return Episode(examples(inputs[:shots], targets[:shots]), examples(inputs[shots:], targets[shots:]))

  return TaskDistribution(sample)
