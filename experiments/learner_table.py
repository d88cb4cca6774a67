"""The table of learners that recipes offer. A row has a learner's constructor, its traits and the offering recipes.

Recipes do not refer to learners by name. They provide the parts of learners (`Parts`), read the traits of a row, and
use its settings where they differ from the recipe's. docs/own_learner.md says how to add a learner.
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
  """The parts of learners that modulate a network."""
  backbone: FilmNetwork
  encoder: Network  # from examples to a task description
  modulation: Network  # from a task description to the FiLM parameters of the backbone
  classifier: Network  # from the mean features of a class to its weights in the linear classifier


class Parts(NamedTuple):
  """The parts from which a recipe builds learners. A learner that needs a part that is None is not offered."""
  config: Any
  loss: PerExample  # of the inner loop
  num_steps: int  # of the inner loop
  num_classes: int | None  # maximum number of classes per task; None: targets are real
  network: Network  # from inputs to outputs; all weights are adapted
  body: Network  # the same in two parts: this part is shared by all tasks,
  head: Network  # and this part is adapted
  features: Network  # from inputs to features, shared by all tasks
  describe: Network  # from an example and its label to a vector, which is averaged over a task
  decide: Network  # from that average and a query to outputs
  similarity: Network | None = None  # from two features to a number
  distance: distances.Distance = distances.squared_euclidean  # between features
  vectors: Network | None = None  # from inputs to vectors, for learners on vectors, if inputs are not vectors
  on_vectors: Callable[[Learner], Learner] = lambda learner: learner  # from a learner on vectors to a learner on inputs
  sequence: SequenceNetwork | None = None  # a transformer
  film: Film | None = None


class Row(NamedTuple):
  """A learner, its traits, and where it is offered.

  offered: by kind of recipe (sinusoids, images, vectors), the learner's settings that differ from the recipe's. The
    learner is offered by these kinds only. "photographs" overrides the settings of images, in the recipe few_shot.
  """
  make: Callable[[Any], Learner]  # from Parts
  offered: Mapping[str, Settings]
  descends: bool = False  # adapts by inner steps of gradient descent
  whole: bool = False  # adapts all weights of a network
  implicit: bool = False  # its meta-gradient is the solution of a linear system, not a derivative of the inner steps
  moves: bool = False  # its adapted weights have the structure of its parameters, so their change can be contrasted
  smooth: bool = False  # has so many inner steps that it needs smooth units and standard initialisation
  any_ways: bool = False  # no weight depends on the number of classes, which may be larger in training than in the test
  classes_only: bool = False  # cannot regress
  layerless: bool = False  # works without layers, on weighted inputs
  temperature: bool = False  # has a temperature
  prompt: bool = False  # a transformer reads the examples
  film: bool = False  # modulates its own network
  objective: Callable[..., Objective] = settings.make_objective


def _loop(parts: Parts) -> dict[str, Any]:
  return {"optimizer": optax.sgd(parts.config.inner_rate), "num_steps": parts.num_steps}


def _maml(parts: Parts) -> Learner:
  return learners.maml(parts.network, parts.loss, first_order=parts.config.first_order, **_loop(parts))


def _steps(number: int) -> Settings:
  return {"inner_steps": number, "test_inner_steps": number}


_AT_ONCE = MappingProxyType({"task_chunk": 0})  # steps with ConML take 3/4 of the time, with 300 MiB instead of 26
_PHOTOGRAPHS = MappingProxyType({"inner_rate": 0.1, "inner_steps": 3, "test_inner_steps": 5})
_RESIDUAL = MappingProxyType({  # its convolutions are slow in a loop over tasks
    "norm": "group", "training": {"tasks_per_step": 8, "task_chunk": 0}})
_PROMPTS = MappingProxyType({"weight": 0.02, "distance": "sigmoid_squared"})  # ConML's settings for in-context learning
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
    "reptile": Row(  # the inner loop is MAML's; the objective differs
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

# The settings that only some learners read, with the trait of these learners.
_READ_BY: Mapping[str, Callable[[Row], bool]] = MappingProxyType({
    "inner_steps": lambda row: row.descends, "test_inner_steps": lambda row: row.descends,
    "inner_rate": lambda row: row.descends, "first_order": lambda row: row.descends and not row.implicit,
    "strength": lambda row: row.implicit, "solver_steps": lambda row: row.implicit,
    "train_ways": lambda row: row.any_ways, "temperature": lambda row: row.temperature,
    "mixed": lambda row: not row.film, "max_pool": lambda row: not row.film,
    "size": lambda row: row.prompt, "hidden": lambda row: not row.prompt, "psi": lambda row: row.moves,
    "activation": lambda row: row.whole and not row.smooth, "first_weights": lambda row: row.whole and not row.smooth})


def offered(kind: str) -> dict[str, Row]:
  """Returns the rows of the learners offered by recipes of a kind, by name."""
  return {name: row for name, row in TABLE.items() if kind in row.offered}


def defaults(kind: str, own: Callable[[Row], Settings] = lambda row: {}) -> dict[str, Settings]:
  """Returns the learners of a recipe, each with its settings that differ from the recipe's.

  Args:
    kind: the kind of recipe.
    own: the recipe's settings for learners with a trait; settings of the row take precedence.
  """
  return {name: merged(own(row), row.offered[kind]) for name, row in offered(kind).items()}


def merged(*each: Settings) -> Settings:
  """Merges settings; later ones take precedence. Groups such as `training` are merged field by field."""
  result: dict[str, Any] = {}
  for changes in each:
    for field, value in changes.items():
      result[field] = {**result.get(field, {}), **value} if isinstance(value, Mapping) else value
  return result


def unread(config: Any) -> list[str]:
  """Returns the fields of a recipe's settings that `config.learner` does not read; none if there is no learner."""
  row = TABLE.get(getattr(config, "learner", ""))
  return [] if row is None else [field for field, reads in _READ_BY.items()
                                 if hasattr(config, field) and not reads(row)]


def check(config: Any, kind: str) -> Row:
  """Returns the row of `config.learner`, after checking that no setting is changed that the learner does not read.

  Raises:
    ValueError: for an unknown learner, or a setting that it does not read.
  """
  rows = offered(kind)
  row = settings.choose("learner", config.learner, rows)
  settings.check_read(config, **{field: [name for name, row in rows.items() if reads(row)]
                                 for field, reads in _READ_BY.items() if hasattr(config, field)})
  return row
