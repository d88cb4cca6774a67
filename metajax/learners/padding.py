"""Learners never see the values in padding: they are set to zero before anything is computed.

Leaving a row out of a sum is not enough: if the row holds NaN, its gradient is zero times NaN, which is NaN.
"""

from metajax.examples import zero_padding, zero_rows
from metajax.kinds import check_key
from metajax.types import Learner


def ignore_padding(learner: Learner) -> Learner:
  """Returns the same learner with the inputs, features and targets of padding set to zero.

  Its `init` raises ValueError if the key is not a key, as when the arguments are swapped.
  """

  def init(key, inputs):
    check_key("init", key)
    return learner.init(key, inputs)

  def embed(params, inputs, mask):
    return learner.embed(params, zero_rows(inputs, mask), mask)

  def adapt(params, examples, key):
    return learner.adapt(params, zero_padding(examples), key)

  def predict(params, adapted, features, mask):
    return learner.predict(params, adapted, zero_rows(features, mask), mask)

  masked, both = learner._replace(init=init, embed=embed, adapt=adapt, predict=predict), learner.adapt_both
  if both is None:
    return masked

  def adapt_both(params, support, query, key):
    return both(params, zero_padding(support), zero_padding(query), key)

  return masked._replace(adapt_both=adapt_both)
