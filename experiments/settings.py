"""The settings shared by all recipes, with types, defaults and comments, and the functions they select.

Words on the command line become functions here.
"""

from dataclasses import dataclass, replace
import functools
from operator import attrgetter
from typing import Any, Callable, Collection, Mapping, TypeVar

import optax

from metajax import objectives
from metajax.contrast import distances, info_nce
from metajax.lab.recipe import Test  # noqa: F401, re-exported for recipes
from metajax.lab.recipe import Training  # noqa: F401
from metajax.lab.recipe import tasks_at_a_time
from metajax.networks import normalisation
from metajax.objectives import views
from metajax.objectives.autoregressive import Read
from metajax.objectives.conml import Contrastive
from metajax.objectives.task_map import TaskMap
from metajax.training.sharding import TASKS
from metajax.types import Learner, Objective, PerExample

T = TypeVar("T")


@dataclass
class Contrast:
  """The contrastive term of the objective."""
  weight: float = 0.1  # lambda, the weight of the contrastive term (paper: 0.1 for images, 0.02 in context)
  distance: str = "cosine"  # phi: cosine, squared_euclidean or sigmoid_squared
  views: str = "support"  # how subsets are drawn: support (as in the paper), subsets or halves
  num_views: int = 2  # K, for subsets
  view_size: int = 5  # examples in a subset, for subsets
  loss: str = "difference"  # of D_in and D_out (as in the paper), or info_nce (ours), which needs both terms
  temperature: float = 0.1  # of info_nce
  align: bool = True  # whether D_in is minimised
  discriminate: bool = True  # whether D_out is maximised
  stop_full_gradient: bool = False  # whether the full representation e* is a constant in the gradient (paper: no)


def choose(field: str, value: str, options: Mapping[str, T]) -> T:
  """Returns the option named by a word.

  Raises:
    ValueError: naming the field, the given word and the options.
  """
  if value not in options:
    raise ValueError(f"config.{field}={value!r} is not known; choose one of {', '.join(options)}.")
  return options[value]


def check_at_least(lowest: float, config: Any, *fields: str) -> None:
  """Raises ValueError for the first of the named fields, such as `training.steps`, with a smaller value or entry."""
  for field in fields:
    value = attrgetter(field)(config)
    if not all(part >= lowest for part in (value if isinstance(value, tuple) else [value])):  # also true for NaN
      raise ValueError(f"config.{field}={value} is too small; it must be {lowest} or more.")


def check_positive(config: Any, *fields: str) -> None:
  """Raises ValueError for the first of the named fields that is not positive."""
  for field in fields:
    value = attrgetter(field)(config)
    if not value > 0:  # also true for NaN
      raise ValueError(f"config.{field}={value} must be positive.")


def check_read(config: Any, **readers: Collection[str]) -> None:
  """Raises ValueError for a changed field that `config.learner` does not read, so that no setting is silently ignored.

  Args:
    config: the settings of a recipe, with a field `learner` and defaults for all fields.
    **readers: for each field that only some learners read, these learners.
  """
  for field, learners in readers.items():
    if config.learner not in learners and getattr(config, field) != getattr(type(config)(), field):
      raise ValueError(f"config.{field}={getattr(config, field)} has no effect on the learner {config.learner}; it is "
                       f"read by {', '.join(learners)}.")


def check_page(config: Any, learner: str, recipe: str) -> None:
  """Raises ValueError if `config.learner` is not the learner of a recipe; `recipe` is the recipe of all learners."""
  if config.learner != learner:
    raise ValueError(f"config.learner={config.learner!r} is not allowed: this recipe is only for {learner}; give "
                     f"--config={recipe}:{config.learner}.")


def changed(config: T, changes: Mapping[str, Any]) -> T:
  """Returns a dataclass with some fields changed; a mapping changes some fields of a group, such as `training`."""
  new = {name: changed(getattr(config, name), value) if isinstance(value, Mapping) else value
         for name, value in changes.items()}
  return replace(config, **new)  # type: ignore[type-var]


def make_optimizer(training: Training) -> optax.GradientTransformation:
  """Returns the outer optimizer of a recipe.

  Raises:
    ValueError: for an unknown word, a number out of range, or a setting that the optimizer does not read.
  """
  for field, lowest in (("weight_decay", 0), ("warmup_steps", 0), ("accumulate", 1), ("momentum", 0), ("patience", 0)):
    if not getattr(training, field) >= lowest:  # also true for NaN
      raise ValueError(f"config.training.{field}={getattr(training, field)} is too small; it must be {lowest} or more.")
  rate, decay = _learning_rate(training), training.weight_decay
  sgd = lambda: optax.sgd(rate, momentum=training.momentum or None)
  makers: Mapping[str, Callable[[], optax.GradientTransformation]] = {
      "adam": lambda: optax.adam(rate), "adamw": lambda: optax.adamw(rate, weight_decay=decay),
      "lamb": lambda: optax.lamb(rate, weight_decay=decay),
      "sgd": lambda: optax.chain(optax.add_decayed_weights(decay), sgd()) if decay else sgd()}
  made = choose("training.optimizer", training.optimizer, makers)
  if decay and training.optimizer == "adam":
    raise ValueError(f"config.training.weight_decay={decay} has no effect on adam; give "
                     "config.training.optimizer=adamw.")
  if training.momentum != Training.momentum and training.optimizer != "sgd":
    raise ValueError(f"config.training.momentum={training.momentum} has no effect on {training.optimizer}; it is read "
                     "by sgd.")
  if training.accumulate == 1:
    return made()
  return optax.MultiSteps(made(), every_k_schedule=training.accumulate).gradient_transformation()


def _learning_rate(training: Training) -> optax.ScalarOrSchedule:
  """Returns the learning rate, as a function of the number of updates if it changes."""
  rate, updates = training.learning_rate, max(1, training.steps // max(1, training.accumulate))
  warmup = -(-training.warmup_steps // training.accumulate)
  if warmup >= updates:
    raise ValueError(f"config.training.warmup_steps={training.warmup_steps} must be fewer than the "
                     f"{training.steps} steps of training.")
  schedules: Mapping[str, Callable[[], optax.ScalarOrSchedule]] = {
      "constant": lambda: rate, "cosine": lambda: optax.cosine_decay_schedule(rate, updates - warmup)}
  then = choose("training.schedule", training.schedule, schedules)()
  if not warmup:
    return then
  after = then if callable(then) else optax.constant_schedule(then)
  return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


def make_objective(config: Any, learner: Learner, loss: PerExample, scores: Mapping[str, PerExample]) -> Objective:
  """Returns ConML or, with `config.conml` off, the plain episodic objective.

  Args:
    config: the settings of a recipe, with fields `conml` (bool), `contrast` and `training`.
    learner, loss, scores: as in `metajax.objectives.episodic`.

  Raises:
    ValueError: for an invalid word or number.
  """
  mapped, contrast = _mapped(config), config.contrast
  if not config.conml:
    return objectives.episodic(learner, loss, scores, **mapped)
  if not (contrast.align or contrast.discriminate):
    raise ValueError("config.contrast.align and config.contrast.discriminate are both False, but ConML needs one of "
                     "its two terms; enable one, or give config.conml=False.")
  strategy = choose("contrast.views", contrast.views, {
      "support": lambda: None, "halves": views.halves,
      "subsets": lambda: views.random_subsets(contrast.num_views, contrast.view_size)})()
  forms: Mapping[str, Contrastive | None] = {
      "difference": None, "info_nce": functools.partial(info_nce, temperature=contrast.temperature)}
  distance = make_distance(contrast)
  contrastive = choose("contrast.loss", contrast.loss, forms)
  return objectives.conml(learner, loss, scores, weight=contrast.weight, views=strategy, distance=distance,
                          align=contrast.align, discriminate=contrast.discriminate, contrastive=contrastive,
                          stop_full_gradient=contrast.stop_full_gradient, **mapped)


def make_reptile(config: Any, learner: Learner, loss: PerExample, scores: Mapping[str, PerExample]) -> Objective:
  """Returns Reptile's objective, with or without ConML; arguments and errors as in `make_objective`."""
  return objectives.reptile(learner, loss, scores, **_printed_contrast(config, "reptile"), **_mapped(config))


def make_autoregressive(config: Any, read: Read, loss: PerExample) -> Objective:
  """Returns the objective of in-context learning, with or without ConML; `read` as in `objectives.autoregressive`.

  Errors as in `make_objective`.
  """
  terms = {"align": config.contrast.align, "discriminate": config.contrast.discriminate} if config.conml else {}
  return objectives.autoregressive(read, loss, **_printed_contrast(config, "in-context learning", terms),
                                   **_mapped(config), **terms)


def make_distance(contrast: Contrast) -> distances.Distance:
  """Returns the distance phi.

  Raises:
    ValueError: for an unknown word.
  """
  kinds: Mapping[str, distances.Distance] = {
      "cosine": distances.cosine, "squared_euclidean": distances.squared_euclidean,
      "sigmoid_squared": distances.sigmoid_squared}
  return choose("contrast.distance", contrast.distance, kinds)


def make_normalisation(value: str) -> tuple[normalisation.Normalise, str]:
  """Returns the normalisation named by a word, and the phrase to state with every result.

  Raises:
    ValueError: for an unknown word.
  """
  options: Mapping[str, tuple[normalisation.Normalise, str]] = {
      "batch": (normalisation.batch_statistics,
                "normalised by current-batch statistics, so predictions are transductive"),
      "running": (normalisation.running_averages(),
                  "normalised by running averages of the training batches, predictions are inductive"),
      "group": (normalisation.group(8, fitted=True), "group normalisation, predictions are inductive"),
      "none": (normalisation.none, "no normalisation, predictions are inductive")}
  return choose("norm", value, options)


def _mapped(config: Any) -> dict[str, Any]:
  """Returns the arguments shared by all objectives (how tasks are mapped), after checking the common settings."""
  training = config.training
  check_at_least(1, config, "training.tasks_per_step", "training.steps", "training.steps_per_row",
                 "training.steps_per_dispatch", "training.rows_per_checkpoint", "training.keep_newest",
                 "contrast.num_views", "contrast.view_size")
  check_positive(config, "contrast.temperature")
  check_at_least(2, config, "test.episodes", "test.val_episodes")
  check_at_least(0, config, "training.learning_rate", "training.clip_gradient", "training.skip_nonfinite",
                 "training.keep_every")
  check_at_least(-1, config, "training.task_chunk")
  if config.conml and training.tasks_per_step < 2 and config.contrast.discriminate:
    raise ValueError(f"config.training.tasks_per_step={training.tasks_per_step}, but ConML compares different tasks "
                     "and needs at least 2 in a meta-batch; give more, or config.contrast.discriminate=False.")
  chunk = tasks_at_a_time(training)
  task_map: TaskMap = objectives.in_chunks(chunk) if chunk else objectives.at_once
  return {"task_map": task_map, "axis_name": TASKS}


def _printed_contrast(config: Any, learner: str, more: Collection[str] = ()) -> dict[str, Any]:
  """Returns weight and distance, for a learner whose contrast is fixed by the paper; only `more` can be set."""
  if not config.conml:
    return {"weight": 0.0}
  for field in ("views", "loss", "align", "discriminate", "stop_full_gradient"):
    given, printed = getattr(config.contrast, field), getattr(Contrast(), field)
    if given != printed and field not in more:
      raise ValueError(f"config.contrast.{field}={given} is not allowed with {learner}, whose contrast is fixed as in "
                       f"the paper; leave it at {printed}.")
  return {"weight": config.contrast.weight, "distance": make_distance(config.contrast)}
