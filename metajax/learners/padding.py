"""What stands in padding reaches no learner: it is zero before anything is computed.

Leaving a row out of a sum is not enough, for the gradient of what was computed of it is zero times NaN, which is NaN.
"""

from metajax.examples import zero_padding, zero_rows
from metajax.types import Learner


def ignore_padding(learner: Learner) -> Learner:
  """Returns the learner as one that gets zeros for whatever inputs, features and targets padding has."""

  def embed(params, inputs, mask):
    return learner.embed(params, zero_rows(inputs, mask), mask)

  def adapt(params, examples, key):
    return learner.adapt(params, zero_padding(examples), key)

  def predict(params, adapted, features, mask):
    return learner.predict(params, adapted, zero_rows(features, mask), mask)

  blind, both = learner._replace(embed=embed, adapt=adapt, predict=predict), learner.adapt_both
  if both is None:
    return blind

  def adapt_both(params, support, query, key):
    return both(params, zero_padding(support), zero_padding(query), key)

  return blind._replace(adapt_both=adapt_both)
