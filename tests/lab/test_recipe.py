"""Every recipe runs, with and without ConML, and rejects invalid settings."""

import dataclasses
import inspect

import chex
import jax
import numpy as np
import pytest

from experiments.regression import sinusoid
from launch import find
from metajax import objectives
from metajax.contrast import distances
from metajax.data import glyphs
from metajax.examples import examples
from metajax.lab import pictures
from metajax.lab.recipe import Test as Lists
from metajax.lab.session import check
from metajax.objectives.solve import solve
from metajax.training.sharding import task_mesh
from metajax.training.step import init_state, make_advance
from metajax.types import Objective
from tests.small_runs import build_sinusoid, rows, run


def test_check_rejects_untraceable_recipes():
  built = build_sinusoid()
  check(built)

  def refuses(params, episodes, key, axis_name):
    raise ValueError("this cannot be")

  with pytest.raises(ValueError, match="this cannot be"):
    check(built._replace(objective=Objective(refuses)))


_PAGES = ("sinusoid_maml", "quickstart", "omniglot_maml", "omniglot_protonet", "icl_linear", "icl_sparse", "icl_tree",
          "icl_network", "icl_images")
_DESCEND = ("maml", "fomaml", "anil", "metasgd", "reptile", "imaml")
_SINUSOID = (*_DESCEND, "ridge", "cnp", "in_context")
_OMNIGLOT = (*_DESCEND, "protonet", "protonet_cosine", "matchingnet", "matchingnet_full_context", "relationnet",
             "ridge", "cnp", "cnaps", "simple_cnaps", "in_context")
_OF_MANY = [*(f"sinusoid:{learner}" for learner in _SINUSOID), *(f"omniglot:{learner}" for learner in _OMNIGLOT)]
_IN_TEST_SOURCES = ("few_shot", "cifar_fs", "vectors", "clinc150", "table", "fsmol", "lake")  # tests/experiments
_AS_ICL_LINEAR = ("icl_sparse", "icl_tree", "icl_network")  # without ConML; with ConML each recipe runs in full
_WITH_PAGE = ("sinusoid:maml", "omniglot:maml", "omniglot:protonet")
_SMALL = {"filters": 4, "hidden": (4,), "queries": 1, "test_queries": 1, "train_ways": 5, "train_queries": 1,
          "norm": "none"}


def _default(name):
  """Returns the module of a recipe such as `omniglot:ridge`, and its settings."""
  module = find.load(name)
  return module, module.get_config(*find.split(name)[1])


def _data_of(name):
  return {"data": "omniglot" if name.startswith("omniglot") else "glyphs"}


def _small(config, **changes):
  names = {field.name for field in dataclasses.fields(config)}
  if not getattr(config, "train_ways", 0):
    names.discard("train_ways")
  if getattr(config, "learner", "") == "in_context":
    names.discard("hidden")
  small = {name: value for name, value in {**_SMALL, **changes}.items() if name in names}
  # A checkpoint costs more than both steps, so only one is saved, at the end.
  training = dataclasses.replace(config.training, steps=2, tasks_per_step=2, steps_per_row=1, rows_per_checkpoint=2)
  return dataclasses.replace(config, training=training, test=Lists(episodes=2, val_episodes=2), **small)


@pytest.fixture(scope="module")
def _cache(tmp_path_factory):
  """A separate cache, not the user's."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield


@pytest.fixture
def _data(request, _cache):
  """The data of a recipe; without it, the test is skipped with a warning."""
  recipe = request.getfixturevalue("name")
  if recipe.startswith("omniglot"):
    request.getfixturevalue("data_dir")
  if recipe in ("quickstart", "icl_images"):
    try:
      glyphs.load("train")
    except FileNotFoundError as error:
      pytest.skip(f"{recipe} goes UNTESTED: {error}")


@pytest.mark.usefixtures("_data", "compiled_quickly")
@pytest.mark.parametrize("name", _PAGES)
def test_every_recipe_runs(name, tmp_path):
  module, config = _default(name)
  built = module.build(_small(config, conml=True, **_data_of(name)))
  check(built)
  said, results = run(built, tmp_path)
  table = rows(tmp_path)
  assert len(table) == 2 and "d_out" in table[0]
  assert set(results) == {"loss", *built.scores} and all(np.isfinite(result.mean) for result in results.values())
  assert len(list(tmp_path.glob("*.png"))) == (1 if name == "icl_images" else 2 if name.startswith("icl") else 3)
  assert built.notes in said


@pytest.mark.usefixtures("_data", "compiled_quickly")
@pytest.mark.parametrize("name, conml", [*((name, True) for name in _OF_MANY if name not in _WITH_PAGE),
                                         ("sinusoid:reptile", False), ("sinusoid:in_context", False),
                                         *((name, False) for name in _PAGES)])
def test_every_learner_of_a_recipe_takes_steps(name, conml):
  module, config = _default(name)
  built = module.build(_small(config, conml=conml, **_data_of(name)))
  # Two steps on one device; the rest of a run is identical for all learners.
  key, data = jax.random.key(0), built.train_tasks.data
  state = init_state(built.learner, built.optimizer, built.train_tasks, key)
  advance = make_advance(built.objective, built.optimizer, built.train_tasks, key=key,
                         mesh=task_mesh(jax.devices()[:1]), num_tasks=2, num_steps=1)
  if name in _AS_ICL_LINEAR or name.startswith("omniglot:") and config.learner in _SINUSOID:
    # Another recipe tests the same formulas; this only tests that they fit these tasks and this network.
    after, metrics = jax.eval_shape(advance, state, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert ("d_out" in metrics) == conml
  else:
    for _ in range(2):
      state, metrics = advance(state, data)
      assert ("d_out" in metrics) == conml and all(np.isfinite(value).all() for value in metrics.values())
  test = lambda params, data: solve(built.test_learner, built.loss, built.scores, params,
                                    built.test_tasks.sample(data, key), key)
  assert jax.eval_shape(test, state.params, built.test_tasks.data).loss.shape == ()
  if name in _OF_MANY:
    assert ("step(s)" in built.notes) == (config.learner in _DESCEND) and "predictions are inductive" in built.notes
    assert "5-way 1-shot" in built.notes or "5 shots" in built.notes


@pytest.mark.parametrize("name", _WITH_PAGE)
def test_a_recipe_of_one_learner_equals_the_general_recipe(name):
  _, config = _default(name)
  assert config == _default(name.replace(":", "_"))[1] and config.learner == name.split(":")[1]


def test_a_learner_without_inner_steps_is_drawn_before_adaptation(monkeypatch):
  fit, key = {}, jax.random.key(0)
  monkeypatch.setattr(pictures, "fit_picture", lambda before, after, *_, **__: fit.update({"before": before, **after}))
  built = sinusoid.build(_small(sinusoid.get_config("ridge")))
  params = built.learner.init(key, np.zeros((3, 1), np.float32))
  assert set(built.pictures(params, key)) == {"fit.png", "task_map.png"}
  features = built.learner.embed(params, np.ones((3, 1), np.float32), np.ones(3, bool))
  assert list(fit) == ["before", "after adaptation"]  # it has no inner steps
  weights = [each.adapt(params, examples(features, np.ones((3, 1), np.float32)), key) for each in fit.values()]
  assert not np.any(weights[0]) and np.any(weights[1])


def test_every_recipe_is_tested_here():
  expected = set()
  for name in find.recipes():
    module = find.load(name)
    takes_one = inspect.signature(module.get_config).parameters
    expected |= {f"{name}:{learner}" for learner in module.defaults()} if takes_one else {name}
  elsewhere = {name for name in expected if name.split(":")[0] in _IN_TEST_SOURCES}
  assert expected == {*_PAGES, *_OF_MANY, *elsewhere}


# A value for a field that only some learners read, and these learners.
_MANY_WAYS = ("protonet", "protonet_cosine", "matchingnet", "matchingnet_full_context", "relationnet", "ridge", "cnaps",
              "simple_cnaps")
_READ_BY = {
    "inner_steps": (7, _DESCEND), "test_inner_steps": (7, _DESCEND), "inner_rate": (0.7, _DESCEND),
    "first_order": (True, _DESCEND[:-1]), "strength": (7.0, ("imaml",)), "solver_steps": (7, ("imaml",)),
    "size": ("small", ("in_context",)), "temperature": (0.7, _MANY_WAYS[1:4]), "train_ways": (7, _MANY_WAYS)}


@pytest.mark.parametrize("name", _OF_MANY)
def test_settings_that_a_learner_does_not_read_are_rejected(name):
  module, config = _default(name)
  assert config.learner == name.split(":")[1]
  for field, (value, readers) in _READ_BY.items():
    if hasattr(config, field) and config.learner not in readers:
      with pytest.raises(ValueError, match=f"^config.{field}={value} has no effect on the learner {config.learner}; "):
        module.build(dataclasses.replace(config, **{field: value}))


@pytest.mark.parametrize("name, changes, sentence", [
    ("sinusoid:reptile", {"views": "halves"}, "config.contrast.views=halves is not allowed with reptile"),
    ("sinusoid:reptile", {"align": False}, "config.contrast.align=False is not allowed"),
    ("sinusoid:reptile", {"discriminate": False}, "config.contrast.discriminate=False is not allowed"),
    ("omniglot:reptile", {"loss": "info_nce"}, "config.contrast.loss=info_nce is not allowed"),
    ("omniglot:reptile", {"stop_full_gradient": True}, "config.contrast.stop_full_gradient=True is not allowed"),
    ("omniglot:reptile", {"distance": "euclid"}, "config.contrast.distance='euclid' is not known"),
    ("sinusoid:in_context", {"views": "subsets"}, "config.contrast.views=subsets is not allowed with in-context")])
def test_an_invalid_contrast_is_rejected(name, changes, sentence, monkeypatch):
  module, config = _default(name)
  if "omniglot" in name:
    monkeypatch.setattr(module, "image_tasks", lambda *_, **__: lambda split: None)  # rejected before any task is made
  with pytest.raises(ValueError, match=f"^{sentence}"):
    module.build(dataclasses.replace(config, contrast=dataclasses.replace(config.contrast, **changes)))


@pytest.mark.parametrize("name, called", [("sinusoid:reptile", "reptile"), ("sinusoid:in_context", "autoregressive")])
def test_special_objectives_read_weight_and_distance(name, called, monkeypatch):
  module, config = _default(name)
  monkeypatch.setattr(objectives, called, lambda *arguments, **options: options)
  contrast = dataclasses.replace(config.contrast, weight=0.3, distance="squared_euclidean")
  options = module.build(dataclasses.replace(config, contrast=contrast)).objective
  assert (options["weight"], options["distance"]) == (0.3, distances.squared_euclidean)
  assert module.build(dataclasses.replace(config, conml=False)).objective["weight"] == 0
