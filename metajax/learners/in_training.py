"""Learners on networks that differ in training, by dropout or by running averages."""

import functools
from typing import Callable, ParamSpec

import jax

from metajax.kinds import check_arguments
from metajax.types import Learner

P = ParamSpec("P")


def trains_its_networks(make: Callable[P, Learner]) -> Callable[P, Learner]:
  """Decorates the maker of a learner: if a network differs in training, so does the learner (`in_training`).

  Arguments of another kind than annotated raise ValueError (`metajax.kinds`).
  """

  @functools.wraps(make)
  def made(*args: P.args, **options: P.kwargs) -> Learner:
    check_arguments(make, args, options)
    learner = make(*args, **options)
    parts = [*args, *options.values()]
    if not any(getattr(part, "in_training", None) for part in parts):
      return learner

    def in_training(key):
      live = [_live(part, jax.random.fold_in(key, index)) for index, part in enumerate(parts)]
      return make(*live[:len(args)], **dict(zip(options, live[len(args):], strict=True)))  # type: ignore[arg-type]

    return learner._replace(in_training=in_training)

  return made


def _live(part, key):
  in_training = getattr(part, "in_training", None)
  return part if in_training is None else in_training(key)
