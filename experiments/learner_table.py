"""The learners that recipes offer: one table. A row says how a learner is made, what it can do, where it is offered.

Recipes name no learner. They bring the parts that learners are made of (`Parts`), ask for the traits of a row, and
take from it the settings in which a learner differs from a recipe's own. docs/own_learner.md says how to add one.
"""

from types import MappingProxyType
from typing import Any, Callable, Mapping, NamedTuple

import optax

from experiments import settings
from metajax import learners
from metajax.contrast import distances
from metajax.types import FilmNetwork, Learner, Network, Objective, PerExample, SequenceNetwork

Settings = Mapping[str, Any]  # by field of a config; a mapping for a group such as `training`


class Film(NamedTuple):
  """What learners that modulate a network are made of."""
  backbone: FilmNetwork
  encoder: Network  # from examples to what describes a task
  modulation: Network  # from the description of a task to the film of the backbone
  classifier: Network  # from the mean features of a class to its linear classifier


class Parts(NamedTuple):
  """What a recipe makes learners of. Where a part is None, no learner that needs it is offered."""
  config: Any
  loss: PerExample  # of the inner loop
  num_steps: int  # of the inner loop
  num_classes: int | None  # the most classes of a task; None: targets are real
  network: Network  # from inputs to outputs, adapted whole
  body: Network  # the same in two parts: this is shared by all tasks,
  head: Network  # and this is adapted
  features: Network  # from inputs to features, shared by all tasks
  describe: Network  # from an example and its label to what is averaged over a task
  decide: Network  # from that average and a query to outputs
  similarity: Network | None = None  # of two features: one number
  distance: distances.Distance = distances.squared_euclidean  # of features
  vectors: Network | None = None  # from inputs to vectors, for a learner that takes them, where inputs are none
  on_vectors: Callable[[Learner], Learner] = lambda learner: learner  # from a learner of vectors to one of inputs
  sequence: SequenceNetwork | None = None  # a transformer
  film: Film | None = None


class Row(NamedTuple):
  """A learner, its traits, and where it is offered.

  offered: by kind of recipe (sinusoids, images, vectors), the settings in which the learner differs from those recipes'
    own. It is offered where its row has the kind. "photographs" changes those of images, in the recipe few_shot.
  """
  make: Callable[[Any], Learner]  # from Parts
  offered: Mapping[str, Settings]
  descends: bool = False  # adapts by inner steps of gradient descent
  whole: bool = False  # adapts all weights of a network
  implicit: bool = False  # its meta-gradient does not go through the inner steps, and is solved for
  moves: bool = False  # what it adapts has the structure of its parameters, so that there is a change to contrast
  smooth: bool = False  # takes so many steps that it wants smooth units and usual initial weights
  any_ways: bool = False  # no weight counts classes, so that training tasks may have more of them than test tasks
  classes_only: bool = False  # cannot regress
  layerless: bool = False  # can do without layers, on weighted inputs
  temperature: bool = False  # has one
  prompt: bool = False  # a transformer reads the examples
  film: bool = False  # modulates a network of its own
  objective: Callable[..., Objective] = settings.make_objective


def _loop(parts: Parts) -> dict[str, Any]:
  return {"optimizer": optax.sgd(parts.config.inner_rate), "num_steps": parts.num_steps}


def _maml(parts: Parts) -> Learner:
  return learners.maml(parts.network, parts.loss, first_order=parts.config.first_order, **_loop(parts))


def _steps(number: int) -> Settings:
  return {"inner_steps": number, "test_inner_steps": number}


_AT_ONCE = MappingProxyType({"task_chunk": 0})  # with 300 MiB instead of 26, steps with ConML take 3/4 of the time
_PHOTOGRAPHS = MappingProxyType({"inner_rate": 0.1, "inner_steps": 3, "test_inner_steps": 5})
_RESIDUAL = MappingProxyType({  # its convolutions are slow in a loop over tasks
    "norm": "group", "training": {"tasks_per_step": 8, "task_chunk": 0}})
_PROMPTS = MappingProxyType({"weight": 0.02, "distance": "sigmoid_squared"})  # ConML's, in context
_SLOWER = 2e-3  # a learning rate
_POOLED = MappingProxyType({"max_pool": True})

TABLE: Mapping[str, Row] = MappingProxyType({
    "maml": Row(_maml, descends=True, whole=True, moves=True, offered={
        "sinusoids": {"training": {"steps": 70_000}}, "images": {"training": _AT_ONCE}, "vectors": {},
        "photographs": {**_PHOTOGRAPHS, "training": {"steps": 5000, "task_chunk": -1}}}),
    "fomaml": Row(_maml, descends=True, whole=True, moves=True, offered={
        "sinusoids": {"first_order": True, "training": {"steps": 70_000}},
        "images": {"first_order": True, "training": _AT_ONCE}, "vectors": {"first_order": True},
        "photographs": {**_PHOTOGRAPHS, "training": {"steps": 12_000, "task_chunk": -1}}}),
    "anil": Row(
        lambda parts: learners.anil(parts.body, parts.head, parts.loss, first_order=parts.config.first_order,
                                    **_loop(parts)),
        descends=True, offered={"sinusoids": {}, "images": {}, "vectors": {}, "photographs": _POOLED}),
    "metasgd": Row(
        lambda parts: learners.metasgd(parts.network, parts.loss, initial_rate=parts.config.inner_rate,
                                       num_steps=parts.num_steps, first_order=parts.config.first_order),
        descends=True, whole=True, offered={
            "sinusoids": {}, "images": {"training": _AT_ONCE}, "vectors": {},
            "photographs": {**_PHOTOGRAPHS, "training": {"steps": 5000, "task_chunk": -1}}}),
    "reptile": Row(  # an inner loop as MAML's; the objective differs
        _maml, descends=True, whole=True, moves=True, smooth=True, objective=settings.make_reptile, offered={
            "sinusoids": {**_steps(10), "inner_rate": 0.02, "training": {"learning_rate": 3e-3}},
            "images": {**_steps(5), "inner_rate": 0.1, "first_order": True},
            "vectors": {**_steps(5), "first_order": True}, "photographs": {"training": {"steps": 12_000}}}),
    "imaml": Row(
        lambda parts: learners.imaml(parts.network, parts.loss, strength=parts.config.strength,
                                     solver_steps=parts.config.solver_steps, **_loop(parts)),
        descends=True, whole=True, moves=True, smooth=True, implicit=True, offered={
            "sinusoids": {**_steps(10), "inner_rate": 0.02, "strength": 10.0,
                          "training": {"steps": 5000, "learning_rate": 5e-4}},
            "images": {**_steps(5), "training": {"tasks_per_step": 8, "steps_per_dispatch": 1}},
            "vectors": _steps(5), "photographs": {"inner_rate": 0.1, "training": {"steps": 3000}}}),
    "protonet": Row(
        lambda parts: learners.protonet(parts.features, num_classes=parts.num_classes, distance=parts.distance),
        any_ways=True, classes_only=True, layerless=True, offered={
            "images": {"train_ways": 20, "one_turn": False, "filters": 64, "max_pool": True,
                       "training": {"steps": 1200, "tasks_per_step": 4}},
            "vectors": {}, "photographs": _POOLED}),
    "protonet_cosine": Row(
        lambda parts: learners.protonet(parts.features, num_classes=parts.num_classes, distance=distances.cosine,
                                        learned_temperature=parts.config.temperature),
        any_ways=True, classes_only=True, temperature=True,
        offered={"images": {}, "vectors": {}, "photographs": _POOLED}),
    "matchingnet": Row(
        lambda parts: learners.matchingnet(parts.features, num_classes=parts.num_classes,
                                           temperature=parts.config.temperature),
        any_ways=True, classes_only=True, temperature=True,
        offered={"images": {}, "vectors": {}, "photographs": _POOLED}),
    "matchingnet_full_context": Row(
        lambda parts: learners.matchingnet(parts.features, num_classes=parts.num_classes, full_context=3,
                                           temperature=parts.config.temperature),
        any_ways=True, classes_only=True, temperature=True, offered={"images": {}}),
    "relationnet": Row(
        lambda parts: learners.relationnet(parts.features, parts.similarity, num_classes=parts.num_classes),
        any_ways=True, classes_only=True, offered={"images": {}, "vectors": {}}),
    "ridge": Row(
        lambda parts: learners.ridge(parts.features, num_classes=parts.num_classes),
        any_ways=True, layerless=True, offered={"sinusoids": {}, "images": {}, "vectors": {}, "photographs": _POOLED}),
    "cnp": Row(
        lambda parts: parts.on_vectors(learners.cnp(parts.describe, parts.decide, num_classes=parts.num_classes)),
        offered={"sinusoids": {}, "images": {"training": {"learning_rate": _SLOWER}}, "vectors": {}}),
    "cnaps": Row(
        lambda parts: learners.cnaps(*parts.film, num_classes=parts.num_classes),
        film=True, any_ways=True, classes_only=True, offered={"images": _RESIDUAL}),
    "simple_cnaps": Row(
        lambda parts: learners.simple_cnaps(*parts.film[:3], num_classes=parts.num_classes),
        film=True, any_ways=True, classes_only=True, offered={"images": _RESIDUAL}),
    "in_context": Row(
        lambda parts: learners.in_context(parts.sequence, num_classes=parts.num_classes, encoder=parts.vectors),
        prompt=True, offered={
            "sinusoids": {"contrast": _PROMPTS, "training": {"steps": 6000}},
            "images": {"contrast": _PROMPTS, "training": {"learning_rate": _SLOWER, "task_chunk": 0}}})})

# The settings that not all learners read, and the trait of those that do.
_READ_BY: Mapping[str, Callable[[Row], bool]] = MappingProxyType({
    "inner_steps": lambda row: row.descends, "test_inner_steps": lambda row: row.descends,
    "inner_rate": lambda row: row.descends, "first_order": lambda row: row.descends and not row.implicit,
    "strength": lambda row: row.implicit, "solver_steps": lambda row: row.implicit,
    "train_ways": lambda row: row.any_ways, "temperature": lambda row: row.temperature,
    "mixed": lambda row: not row.film, "max_pool": lambda row: not row.film,
    "size": lambda row: row.prompt, "hidden": lambda row: not row.prompt, "psi": lambda row: row.moves,
    "activation": lambda row: row.whole and not row.smooth, "first_weights": lambda row: row.whole and not row.smooth})


def offered(kind: str) -> dict[str, Row]:
  """Returns the rows of the learners that recipes of a kind offer, by name."""
  return {name: row for name, row in TABLE.items() if kind in row.offered}


def defaults(kind: str, own: Callable[[Row], Settings] = lambda row: {}) -> dict[str, Settings]:
  """Returns the learners of a recipe, each with the settings in which it differs from the recipe's own.

  Args:
    kind: of the recipe.
    own: what the recipe sets for learners of a trait; what a row says comes before it.
  """
  return {name: merged(own(row), row.offered[kind]) for name, row in offered(kind).items()}


def merged(*each: Settings) -> Settings:
  """Returns settings together, the later before the earlier; groups such as `training` field by field."""
  result: dict[str, Any] = {}
  for changes in each:
    for field, value in changes.items():
      result[field] = {**result.get(field, {}), **value} if isinstance(value, Mapping) else value
  return result


def check(config: Any, kind: str) -> Row:
  """Returns the row of `config.learner`, having checked that nothing was set which this learner does not read.

  Raises:
    ValueError: for an unknown learner, or a setting that it does not read.
  """
  rows = offered(kind)
  row = settings.choose("learner", config.learner, rows)
  settings.check_read(config, **{field: [name for name, row in rows.items() if reads(row)]
                                 for field, reads in _READ_BY.items() if hasattr(config, field)})
  return row
