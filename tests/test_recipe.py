"""Whole runs in miniature: what they leave, how they go on, and that every recipe runs with ConML and without."""

import csv
import dataclasses
import importlib
import inspect
import json
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from experiments import sinusoid
from metajax import distances, objectives, pictures
from metajax import recipe as recipe_lib
from metajax.checkpoints import Checkpoints
from metajax.data import glyphs
from metajax.examples import examples
from metajax.objectives.tasks import solve
from metajax.preemption import Preempted
from metajax.recipe import Test as Lists
from metajax.sharding import usable_devices
from tests.small_runs import build_sinusoid, stop_after


def run(built, workdir, **options):
  """Runs a recipe; returns what it said and its results."""
  said = []
  return said, recipe_lib.run(built, workdir, say=said.append, **options)


def rows(workdir):
  with open(workdir / "metrics.csv", newline="") as file:
    return list(csv.DictReader(file))


def episodes(workdir, name="test"):
  with np.load(workdir / f"{name}_episodes.npz") as arrays:
    return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The workdir, words and results of a run that nothing interrupted, pictures and all."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, *run(build_sinusoid(pictures=True), workdir)


def test_a_run_leaves_what_it_promises(whole):
  workdir, said, results = whole
  for name in ("metrics.csv", "test.json", "test_episodes.npz", "curves.png", "fit.png", "task_map.png",
               "report.html"):
    assert (workdir / name).stat().st_size > 0, name
  assert all((workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("curves", "fit", "task_map"))
  assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps() == [4, 8]
  assert not (workdir / "checkpoints-damaged").exists()

  table = rows(workdir)
  assert [row["step"] for row in table] == ["2", "4", "6", "8"]
  assert {"loss", "episodic_loss", "contrastive_loss", "d_in", "d_out", "gradient_norm", "val_loss"} <= set(table[0])
  assert [bool(row["val_loss"]) for row in table] == [False, True, False, True]

  summary = json.loads((workdir / "test.json").read_text())
  values = episodes(workdir)["loss"]
  assert summary["episodes"] == 6 == len(values) and summary["test_seed"] == 0
  np.testing.assert_allclose(summary["results"]["loss"]["mean"], values.mean(dtype=np.float64), rtol=1e-12)
  np.testing.assert_allclose(summary["results"]["loss"]["interval_95"],
                             1.96 * values.astype(np.float64).std(ddof=1) / np.sqrt(6), rtol=1e-12)
  assert results["loss"].mean == summary["results"]["loss"]["mean"]
  assert summary["notes"] in said and "Sinusoids" in summary["notes"]


def test_an_ended_run_is_not_trained_again(whole, monkeypatch):
  workdir, _, _ = whole
  before, values = {name: (workdir / name).read_bytes() for name in ("metrics.csv", "test.json")}, episodes(workdir)
  monkeypatch.setattr(recipe_lib, "make_advance", None)  # whoever compiles a step fails
  said, _ = run(build_sinusoid(), workdir)
  assert any(sentence.startswith("Resuming after step 8") for sentence in said)
  assert {name: (workdir / name).read_bytes() for name in before} == before
  np.testing.assert_array_equal(episodes(workdir)["loss"], values["loss"], strict=True)


class _Interrupted(Exception):
  pass


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_interrupted_and_resumed_is_the_same_to_the_byte(whole, tmp_path, monkeypatch, seen):
  unbroken, _, _ = whole
  real = recipe_lib.fit

  def interrupted(*arguments, hooks, **options):
    left = iter(range(seen))

    def stop(step, state, metrics):
      del step, state, metrics
      if next(left) == seen - 1:
        raise _Interrupted

    return real(*arguments, hooks=[*hooks, stop], **options)

  monkeypatch.setattr(recipe_lib, "fit", interrupted)
  with pytest.raises(_Interrupted):
    run(build_sinusoid(), tmp_path)
  assert len(rows(tmp_path)) == seen and not (tmp_path / "test.json").exists()
  monkeypatch.setattr(recipe_lib, "fit", real)
  said, _ = run(build_sinusoid(), tmp_path)
  assert any("Resuming after step 4" in sentence for sentence in said) == (seen > 1)  # 4 is the first checkpoint
  assert_same(tmp_path, unbroken)


def assert_same(workdir, unbroken):
  for name in ("metrics.csv", "test.json"):
    assert (workdir / name).read_bytes() == (unbroken / name).read_bytes(), name
  for name, values in episodes(unbroken).items():
    np.testing.assert_array_equal(episodes(workdir)[name], values, strict=True)


@pytest.mark.parametrize("polls, saved", [((0, 3), [0, 3]), ((4, 1, 3), [4, 5, 8])])
def test_stopped_as_asked_and_gone_on_is_the_same_to_the_byte(whole, tmp_path, polls, saved):
  stopped_at = []
  for count in polls:
    with pytest.raises(Preempted, match="Stopped as asked") as raised:
      run(build_sinusoid(), tmp_path, stop_requested=stop_after(count))
    stopped_at += [int(word) for word in str(raised.value).split() if word.isdigit()][:1] or [8]
    if stopped_at[-1]:
      with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps()[-1] == stopped_at[-1]
  assert stopped_at == saved and not (tmp_path / "test.json").exists()
  run(build_sinusoid(), tmp_path)
  assert_same(tmp_path, whole[0])


def test_a_run_goes_on_over_another_number_of_devices(whole, tmp_path, monkeypatch):
  counts = (8, 4, 2, 1, 8)
  unbroken = recipe_lib.restore(build_sinusoid(), whole[0])
  for number, count in enumerate(counts):
    monkeypatch.setattr(recipe_lib, "usable_devices", lambda tasks: usable_devices(tasks)[:count])
    last = number + 1 == len(counts)
    try:
      state = recipe_lib.train(build_sinusoid(), tmp_path, stop_requested=stop_after(100 if last else 1),
                               say=lambda _: None)
    except Preempted:
      assert not last
  assert len(jax.tree.leaves(state.params)[0].devices()) == counts[-1]
  assert int(state.step) == 8
  for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(unbroken.params), strict=True):
    np.testing.assert_allclose(jax.device_get(ours), jax.device_get(theirs), rtol=1e-5, atol=1e-6)
  for ours, theirs in zip(rows(tmp_path), rows(whole[0]), strict=True):
    assert ours["step"] == theirs["step"]
    np.testing.assert_allclose(float(ours["loss"]), float(theirs["loss"]), rtol=1e-4)


def test_what_is_kept_and_a_metric_that_is_not_measured(tmp_path):
  built = build_sinusoid(keep_newest=1, keep_every=6, keep_best="-val_loss", rows_per_checkpoint=1)
  recipe_lib.check(built)
  recipe_lib.train(built, tmp_path, say=lambda _: None)
  losses = {int(row["step"]): float(row["val_loss"]) for row in rows(tmp_path)}
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps() == sorted({6, 8, min(losses, key=losses.get)})
  with pytest.raises(ValueError, match="keep_best='val_luck' is not measured; choose one of .*loss.*val_loss"):
    recipe_lib.check(build_sinusoid(keep_best="val_luck"))


def test_a_longer_run_goes_on_from_a_shorter_one(whole, tmp_path):
  unbroken, _, _ = whole
  run(build_sinusoid(steps=4), tmp_path)
  run(build_sinusoid(steps=8), tmp_path)
  assert (tmp_path / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


def test_restore_gives_the_trained_state(whole, tmp_path):
  workdir, _, _ = whole
  state = recipe_lib.restore(build_sinusoid(), workdir)
  assert int(state.step) == 8
  again = recipe_lib.test(build_sinusoid(), state.params, tmp_path, name="again", say=lambda _: None)
  np.testing.assert_array_equal(again["loss"].values, episodes(workdir)["loss"])
  with pytest.raises(ValueError, match="has no checkpoint yet; train first"):
    recipe_lib.restore(build_sinusoid(), tmp_path)
  assert not (tmp_path / "checkpoints").exists()


def test_check_refuses_what_cannot_be_traced():
  built = build_sinusoid()
  recipe_lib.check(built)

  def refuses(params, episodes, key):
    raise ValueError("this cannot be")

  with pytest.raises(ValueError, match="this cannot be"):
    recipe_lib.check(built._replace(objective=refuses))


_PAGES = ("sinusoid_maml", "quickstart", "omniglot_maml", "omniglot_protonet", "icl_linear", "icl_sparse", "icl_tree",
          "icl_network", "icl_images")
_DESCEND = ("maml", "fomaml", "anil", "metasgd", "reptile", "imaml")
_SINUSOID = (*_DESCEND, "ridge", "cnp", "in_context")
_OMNIGLOT = (*_DESCEND, "protonet", "protonet_cosine", "matchingnet", "matchingnet_full_context", "relationnet",
             "ridge", "cnp", "cnaps", "simple_cnaps", "in_context")
_OF_MANY = [*(f"sinusoid:{learner}" for learner in _SINUSOID), *(f"omniglot:{learner}" for learner in _OMNIGLOT)]
_IN_TEST_SOURCES = ("few_shot", "cifar_fs", "vectors", "clinc150", "table", "fsmol", "lake")  # tests/experiments
_AS_ICL_LINEAR = ("icl_sparse", "icl_tree", "icl_network")  # without ConML; with it each is run whole
_WITH_PAGE = ("sinusoid:maml", "omniglot:maml", "omniglot:protonet")
_SMALL = {"filters": 4, "hidden": (4,), "queries": 1, "test_queries": 1, "train_ways": 5, "train_queries": 1,
          "norm": "none"}


def _default(name):
  """Returns the module of a recipe such as `omniglot:ridge`, and its settings."""
  stem, *argument = name.split(":")
  module = importlib.import_module(f"experiments.{stem}")
  return module, module.get_config(*argument)


def _data_of(name):
  return {"data": "omniglot" if name.startswith("omniglot") else "glyphs"}


def _small(config, **changes):
  names = {field.name for field in dataclasses.fields(config)}
  if not getattr(config, "train_ways", 0):
    names.discard("train_ways")
  if getattr(config, "learner", "") == "in_context":
    names.discard("hidden")
  small = {name: value for name, value in {**_SMALL, **changes}.items() if name in names}
  # A checkpoint costs more than both steps, so there is one, at the end.
  training = dataclasses.replace(config.training, steps=2, tasks_per_step=2, steps_per_row=1, rows_per_checkpoint=2)
  return dataclasses.replace(config, training=training, test=Lists(episodes=2, val_episodes=2), **small)


@pytest.fixture(scope="module")
def _cache(tmp_path_factory):
  """A cache of its own, not the user's."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield


@pytest.fixture
def _data(request, _cache):
  """The data of a recipe, or a loud skip."""
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
  recipe_lib.check(built)
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
  # Two steps on one device; the rest of a run is the same for all learners.
  key, data = jax.random.key(0), built.train_tasks.data
  state = recipe_lib.init_state(built.learner, built.optimizer, built.train_tasks, key)
  advance = recipe_lib.make_advance(built.objective, built.optimizer, built.train_tasks, key=key,
                                    mesh=recipe_lib.task_mesh(jax.devices()[:1]), num_tasks=2, num_steps=1)
  if name in _AS_ICL_LINEAR or name.startswith("omniglot:") and config.learner in _SINUSOID:
    # Another recipe computes the same formulas: here, that they fit these tasks and this network.
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
def test_a_page_is_one_learner_of_a_recipe(name):
  _, config = _default(name)
  assert config == _default(name.replace(":", "_"))[1] and config.learner == name.split(":")[1]


def test_a_learner_without_steps_is_pictured_before_it_has_seen_the_task(monkeypatch):
  fit, key = {}, jax.random.key(0)
  monkeypatch.setattr(pictures, "fit_picture", lambda before, after, *_, **__: fit.update({"before": before, **after}))
  built = sinusoid.build(_small(sinusoid.get_config("ridge")))
  params = built.learner.init(key, np.zeros((3, 1), np.float32))
  assert set(built.pictures(params, key)) == {"fit.png", "task_map.png"}
  features = built.learner.embed(params, np.ones((3, 1), np.float32), np.ones(3, bool))
  assert list(fit) == ["before", "after adaptation"]  # it takes no steps to be counted
  weights = [each.adapt(params, examples(features, np.ones((3, 1), np.float32)), key) for each in fit.values()]
  assert not np.any(weights[0]) and np.any(weights[1])


def test_every_recipe_is_tested_here():
  expected = set()
  for path in Path(sinusoid.__file__).parent.glob("*.py"):
    if "def get_config(" in path.read_text():
      module = importlib.import_module(f"experiments.{path.stem}")
      takes_one = inspect.signature(module.get_config).parameters
      expected |= {f"{path.stem}:{learner}" for learner in module.defaults()} if takes_one else {path.stem}
  elsewhere = {name for name in expected if name.split(":")[0] in _IN_TEST_SOURCES}
  assert expected == {*_PAGES, *_OF_MANY, *elsewhere}


# A value for a field that some learners do not read, and those that do.
_MANY_WAYS = ("protonet", "protonet_cosine", "matchingnet", "matchingnet_full_context", "relationnet", "ridge", "cnaps",
              "simple_cnaps")
_READ_BY = {
    "inner_steps": (7, _DESCEND), "test_inner_steps": (7, _DESCEND), "inner_rate": (0.7, _DESCEND),
    "first_order": (True, _DESCEND[:-1]), "strength": (7.0, ("imaml",)), "solver_steps": (7, ("imaml",)),
    "size": ("small", ("in_context",)), "temperature": (0.7, _MANY_WAYS[1:4]), "train_ways": (7, _MANY_WAYS)}


@pytest.mark.parametrize("name", _OF_MANY)
def test_what_a_learner_does_not_read_cannot_be_set(name):
  module, config = _default(name)
  assert config.learner == name.split(":")[1]
  for field, (value, readers) in _READ_BY.items():
    if hasattr(config, field) and config.learner not in readers:
      with pytest.raises(ValueError, match=f"^config.{field}={value} means nothing to the learner {config.learner}; "):
        module.build(dataclasses.replace(config, **{field: value}))


@pytest.mark.parametrize("name, changes, sentence", [
    ("sinusoid:reptile", {"views": "halves"}, "config.contrast.views=halves cannot be with reptile"),
    ("sinusoid:reptile", {"align": False}, "config.contrast.align=False cannot be"),
    ("sinusoid:reptile", {"discriminate": False}, "config.contrast.discriminate=False cannot be"),
    ("omniglot:reptile", {"loss": "info_nce"}, "config.contrast.loss=info_nce cannot be"),
    ("omniglot:reptile", {"stop_full_gradient": True}, "config.contrast.stop_full_gradient=True cannot be"),
    ("omniglot:reptile", {"distance": "euclid"}, "config.contrast.distance='euclid' is not known"),
    ("sinusoid:in_context", {"views": "subsets"}, "config.contrast.views=subsets cannot be with in-context learning")])
def test_a_contrast_that_cannot_be_is_refused(name, changes, sentence, monkeypatch):
  module, config = _default(name)
  if "omniglot" in name:
    monkeypatch.setattr(module, "image_tasks", lambda *_, **__: lambda split: None)  # refused before a task is made
  with pytest.raises(ValueError, match=f"^{sentence}"):
    module.build(dataclasses.replace(config, contrast=dataclasses.replace(config.contrast, **changes)))


@pytest.mark.parametrize("name, called", [("sinusoid:reptile", "reptile"), ("sinusoid:in_context", "autoregressive")])
def test_an_objective_of_its_own_takes_weight_and_distance(name, called, monkeypatch):
  module, config = _default(name)
  monkeypatch.setattr(objectives, called, lambda *arguments, **options: options)
  contrast = dataclasses.replace(config.contrast, weight=0.3, distance="squared_euclidean")
  options = module.build(dataclasses.replace(config, contrast=contrast)).objective
  assert (options["weight"], options["distance"]) == (0.3, distances.squared_euclidean)
  assert module.build(dataclasses.replace(config, conml=False)).objective["weight"] == 0


@pytest.mark.parametrize("training", [{}, {"spread_state": True}, {"pmap": True}])
def test_a_dry_run_says_what_a_run_costs_and_leaves_nothing(tmp_path, monkeypatch, training):
  monkeypatch.chdir(tmp_path)
  said = []
  found = recipe_lib.dry_run(build_sinusoid(**training), say=said.append)
  assert found.parameters == 4 + 4 + 4 + 1 and "13 parameters" in said[1]
  assert found.flops > 2 * 6 * 3 * 16  # two steps of six points, forward and twice backward; 2 * 4 * 2 a point
  assert not list(tmp_path.iterdir())
