"""Data sets by name, as on the command line, and whole recipes on data that the tests write."""

import dataclasses

from PIL import Image
import jax
import numpy as np
import pytest

from experiments import sources, vector_learners
from experiments.few_shot import cifar_fs, clinc150, few_shot, fsmol, omniglot, vectors
from experiments.regression import table
from metajax.lab import session
from metajax.lab.recipe import Test as Lists
from metajax.tasks.class_data import from_arrays
from tests.data import test_fsmol as molecules
from tests.data import test_text as texts

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_CACHE_DIR", str(tmp_path / "cache"))


def small(config, **changes):
  training = dataclasses.replace(config.training, steps=2, tasks_per_step=2, steps_per_row=2, rows_per_checkpoint=1,
                                 steps_per_dispatch=1)
  return dataclasses.replace(config, training=training, test=Lists(episodes=2, val_episodes=2), **changes)


def check(built):
  """Traces a step of training and an episode of each test list."""
  session.check(built)
  for tasks in (built.val_tasks, built.test_tasks):
    episode = jax.eval_shape(tasks.sample, tasks.data, jax.random.key(0))
    params = jax.eval_shape(built.learner.init, jax.random.key(0), episode.support.inputs)
    jax.eval_shape(built.test_learner.embed, params, episode.support.inputs, episode.support.mask)
  return built


@pytest.fixture
def pictures(tmp_path):
  """A folder of 15 classes of 4 images."""
  random = np.random.default_rng(0)
  for number in range(15):
    (tmp_path / "pictures" / f"kind{number:02}").mkdir(parents=True)
    for image in range(4):
      pixels = random.integers(0, 255, (20, 24, 3), np.uint8)
      Image.fromarray(pixels).save(tmp_path / "pictures" / f"kind{number:02}" / f"{image}.png")
  return tmp_path / "pictures"


SHAPE = {"ways": 3, "filters": 4, "train_queries": 2, "test_queries": 2, "shots": 2, "norm": "none"}


def test_a_folder_is_tasks_and_pictures(pictures):
  config = small(few_shot.get_config("protonet"), data=f"folder:{pictures}", image_size=16,
                 **{**SHAPE, "train_ways": 3})
  built = check(few_shot.build(config))
  assert "folder pictures, the test classes" in built.notes
  params = jax.jit(built.learner.init)(jax.random.key(0), np.zeros((2, 16, 16, 3), np.float32))
  figures = built.pictures(params, jax.random.key(0))  # of classes of no more than 4 images
  assert set(figures) == {"episode.png", "task_map.png"}


PIXELS = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3))


@pytest.mark.parametrize("inputs, spread", [
    (PIXELS, 0.29), (PIXELS.astype(np.uint16) * 257, 0.29), (PIXELS.astype(np.float32), 74),
    (PIXELS / 60 - 2, 1.23), (-PIXELS / 255, 0.29), (PIXELS / 255, 0.29)])
def test_training_and_test_images_are_scaled_alike_and_not_clipped(tmp_path, inputs, spread):
  np.savez(tmp_path / "a.npz", inputs=inputs, targets=np.arange(60) % 15)
  shape = {**SHAPE, "shots": 1, "train_ways": 3}
  built = few_shot.build(small(few_shot.get_config("protonet"), data=f"npz:{tmp_path / 'a.npz'}", **shape))
  for tasks in (built.train_tasks, built.test_tasks):
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = np.asarray(jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, keys).support.inputs)
    np.testing.assert_allclose(drawn.std(), spread, rtol=0.25)
    assert np.mean((drawn == drawn.max()) | (drawn == drawn.min())) < 0.25


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_images_of_other_channels_have_pictures(tmp_path, channels):
  pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, channels)).astype(np.uint8)
  np.savez(tmp_path / "a.npz", inputs=pixels, targets=np.arange(60) % 15)
  shape = {**SHAPE, "shots": 1, "train_ways": 3}
  built = check(few_shot.build(small(few_shot.get_config("protonet"), data=f"npz:{tmp_path / 'a.npz'}", **shape)))
  params = jax.jit(built.learner.init)(jax.random.key(0), np.zeros((2, 16, 16, channels), np.float32))
  assert set(built.pictures(params, jax.random.key(0))) == {"episode.png", "task_map.png"}


def test_pictures_name_the_classes_that_are_shown(pictures, monkeypatch):
  for number in range(15):  # each class has its own grey
    for path in (pictures / f"kind{number:02}").iterdir():
      Image.new("RGB", (20, 24), (16 * number,) * 3).save(path)
  built = few_shot.build(small(few_shot.get_config("protonet"), data=f"folder:{pictures}", image_size=16,
                               **{**SHAPE, "train_ways": 3}))
  params = jax.jit(built.learner.init)(jax.random.key(0), np.zeros((2, 16, 16, 3), np.float32))
  figure = built.pictures(params, jax.random.key(5))["episode.png"]
  left = figure.axes[0]
  for row, text in enumerate(left.texts):
    greys = {round(float(np.max(image.get_array())) * 255) // 16 for image in left.images
             if int(image.get_extent()[3]) == row}
    assert greys == {int(text.get_text().removeprefix("kind"))}


def test_training_images_are_augmented_and_test_images_are_not(pictures):
  config = small(few_shot.get_config("ridge"), data=f"folder:{pictures}", image_size=16, **SHAPE)
  draw = lambda built, part: np.asarray(jax.jit(getattr(built, part).sample)(
      getattr(built, part).data, jax.random.key(1)).support.inputs)
  plain, changed = (few_shot.build(dataclasses.replace(config, augment=augment)) for augment in (False, True))
  np.testing.assert_array_equal(draw(plain, "test_tasks"), draw(changed, "test_tasks"))
  stored = {image.tobytes() for image in np.asarray(plain.train_tasks.data.examples)}
  told = lambda images: {np.rint(image * 255).astype(np.uint8).tobytes() for image in images}
  assert told(draw(plain, "train_tasks")) <= stored and not told(draw(changed, "train_tasks")) & stored


@pytest.mark.parametrize("learner", ["maml", "anil", "cnaps", "in_context"])
def test_unequal_training_tasks_suit_every_kind_of_learner(pictures, learner):
  ragged = {"min_ways": 2, "min_shots": 1, "balanced": False}
  config = small(few_shot.get_config(learner), data=f"folder:{pictures}", image_size=16, **SHAPE, **ragged)
  built = check(few_shot.build(config))
  draw = jax.jit(jax.vmap(built.train_tasks.sample, (None, 0)))
  episodes = draw(built.train_tasks.data, jax.random.split(jax.random.key(0), 20))
  assert episodes.support.mask.shape == (20, 6) and 0 < np.asarray(episodes.support.mask).mean() < 1


@pytest.mark.parametrize("learner", ["ridge", "in_context"])
def test_training_tasks_are_mixed_and_chosen_to_be_unlike(pictures, learner):
  config = small(few_shot.get_config(learner), data=f"folder:{pictures}", image_size=16, mixed=0.5, candidates=6,
                 **SHAPE)
  built = check(few_shot.build(config))
  episode = jax.eval_shape(built.train_tasks.sample, built.train_tasks.data, jax.random.key(0))
  assert episode.support.inputs.one.shape == episode.support.inputs.other.shape == (6, 16, 16, 3)
  with pytest.raises(ValueError, match="config.mixed=0.5 has no effect on the learner cnaps"):
    few_shot.build(dataclasses.replace(config, learner="cnaps"))
  with pytest.raises(ValueError, match="num_tasks=2 and candidates=1"):
    few_shot.build(dataclasses.replace(config, candidates=1))


def test_tasks_stay_within_an_alphabet(monkeypatch):
  random = np.random.default_rng(0)
  alphabets = from_arrays(random.integers(0, 255, (60, 28, 28, 1), np.uint8), np.arange(60) % 12,
                          groups=["a"] * 4 + ["b"] * 5 + ["c"] * 3)
  monkeypatch.setattr(sources.omniglot, "load", lambda split, image_size, by_alphabet: alphabets)
  config = small(omniglot.get_config("ridge"), data="omniglot-lake", ways=4, train_queries=2, test_queries=2, filters=4)
  built = check(omniglot.build(config))
  group_of = {image.tobytes(): "aaaabbbbbccc"[row // 5] for row, image in enumerate(np.asarray(alphabets.examples))}
  for tasks in (built.train_tasks, built.test_tasks):
    drawn = jax.jit(jax.vmap(tasks.sample, (None, 0)))(tasks.data, jax.random.split(jax.random.key(0), 9))
    images = np.rint(np.asarray(drawn.support.inputs) * 255).astype(np.uint8)
    groups = [{group_of[image.tobytes()] for image in task} for task in images]
    assert all(len(group) == 1 for group in groups) and set.union(*groups) == {"a", "b"}  # c has too few


@pytest.mark.parametrize("learner", ["protonet", "maml", "cnp"])
def test_arrays_are_tasks(tmp_path, learner):
  np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).normal(size=(60, 7)), targets=np.arange(60) % 15)
  config = small(vectors.get_config(learner), data=f"npz:{tmp_path / 'a.npz'}", ways=3, train_queries=2, test_queries=2,
                 hidden=(8, 4))
  assert "a.npz, the test classes" in check(vectors.build(config)).notes
  with pytest.raises(ValueError, match=r"at least 16 x 16 .* \[36, 7\]; for vectors, use the recipe vectors"):
    few_shot.build(small(few_shot.get_config("protonet"), data=config.data))


def test_images_are_not_taken_for_vectors(tmp_path):
  np.savez(tmp_path / "a.npz", inputs=np.zeros((60, 16, 16, 1), np.uint8), targets=np.arange(60) % 15)
  with pytest.raises(ValueError, match="for images, use the recipe few_shot"):
    vectors.build(small(vectors.get_config("protonet"), data=f"npz:{tmp_path / 'a.npz'}", ways=3, test_queries=2,
                        train_queries=2))
  shape = {**SHAPE, "shots": 1}
  check(few_shot.build(small(few_shot.get_config("ridge"), data=f"npz:{tmp_path / 'a.npz'}", augment=False, **shape)))


@pytest.mark.parametrize("classification, learner", [(False, "ridge"), (False, "maml"), (True, "protonet"),
                                                     (True, "reptile")])
def test_a_table_is_tasks(tmp_path, classification, learner):
  random = np.random.default_rng(0)
  rows = [f"p{number % 10},{random.normal():.3f},{random.normal():.3f},{number % 2}" for number in range(80)]
  (tmp_path / "a.csv").write_text("patient,dose,age,ill\n" + "\n".join(rows) + "\n")
  config = small(table.get_config(learner), data=str(tmp_path / "a.csv"), group="patient", shots=3, queries=3,
                 target="ill" if classification else "age", classification=classification, hidden=(8, 4))
  built = check(table.build(config))
  assert "one task per patient" in built.notes and "Groups: 6 train, 2 val, 2 test" in built.notes
  assert ("accuracy" in built.scores) == classification
  assert ("mean squared error" in built.notes) != classification


def test_a_table_needs_its_columns():
  with pytest.raises(ValueError, match="config.data must be given"):
    table.build(table.get_config())
  with pytest.raises(ValueError, match="protonet only classifies; give config.classification=True"):
    table.build(dataclasses.replace(table.get_config("protonet"), classification=False, data="a.csv", group="a",
                                    target="b"))
  with pytest.raises(ValueError, match=r"config.hidden=\(\) has no layers, but the learner maml needs one"):
    table.build(dataclasses.replace(table.get_config("maml"), hidden=()))


def test_texts_are_tasks(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path))
  texts.write_clinc(tmp_path / "clinc150")
  config = small(clinc150.get_config("protonet"), ways=2, train_queries=2, test_queries=2, hidden=(8,))
  built = check(clinc150.build(config))
  assert "domains banking, credit_cards" in built.notes
  inputs = built.test_tasks.sample(built.test_tasks.data, jax.random.key(0)).query.inputs
  np.testing.assert_allclose(np.linalg.norm(inputs, axis=1), 1, rtol=1e-5)
  with pytest.raises(ValueError, match="choose one of clinc150, banking77"):
    clinc150.build(dataclasses.replace(config, data="npz:a.npz"))


def test_weights_of_inputs_begin_by_changing_no_angle():
  network = vector_learners.weighted(2.0)
  inputs = jax.numpy.asarray(np.random.default_rng(0).uniform(size=(4, 6)).astype(np.float32)).at[3].set(0)
  params, mask = network.init(jax.random.key(0), inputs), jax.numpy.ones(4, bool)
  length = np.linalg.norm(inputs[:3], axis=1, keepdims=True)
  np.testing.assert_allclose(network.apply(params, inputs, mask)[:3], 2 * inputs[:3] / length, rtol=1e-5)
  gradient = jax.grad(lambda params: network.apply(params, inputs, mask)[:, 0].sum())(params)
  assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_without_layers_the_start_is_the_nearest_class_mean(tmp_path):
  np.savez(tmp_path / "a.npz", inputs=np.random.default_rng(0).uniform(size=(60, 7)), targets=np.arange(60) % 15)
  config = small(vectors.get_config("protonet"), data=f"npz:{tmp_path / 'a.npz'}", ways=3, train_queries=2,
                 test_queries=2, hidden=())
  learner, tasks = (built := check(vectors.build(config))).learner, built.train_tasks
  support, query = tasks.sample(tasks.data, jax.random.key(0))
  params = learner.init(jax.random.key(0), support.inputs)
  embed = lambda part: learner.embed(params, part.inputs, part.mask)
  adapted = learner.adapt(params, support._replace(inputs=embed(support)), jax.random.key(1))
  logits = learner.predict(params, adapted, embed(query), query.mask)
  unit = lambda rows: 4 * rows / np.linalg.norm(rows, axis=1, keepdims=True)
  gaps = unit(np.asarray(query.inputs))[:, None] - unit(np.asarray(support.inputs))[None]
  np.testing.assert_allclose(logits, -np.square(gaps).sum(axis=2), rtol=1e-4, atol=1e-4)


def test_molecules_are_tasks(tmp_path, monkeypatch):
  monkeypatch.setenv("METAJAX_DATA_DIR", str(tmp_path))
  monkeypatch.setattr(molecules, "TASKS", {part: {f"{part}{number}": [("C", 0), ("CC", 1), ("N", 1), ("CCO", 0)]
                                                 for number in range(2)} for part in molecules.TASKS})
  molecules.write(tmp_path / "fsmol")
  built = check(fsmol.build(small(fsmol.get_config("protonet"), shots=2, queries=2, hidden=(8,))))
  assert "FS-Mol" in built.notes and "2 assays in cyclic order, 2 shots, at most 1,024 queries" in built.notes
  assert list(built.measures) == ["delta_auprc"]
  assert built.test_tasks.listed is not None is built.train_tasks.listed


@pytest.mark.bad_input
@pytest.mark.parametrize("data, sentence", [
    ("cifar", "config.data='cifar' is not known; choose one of omniglot, glyphs, cifar-fs, fc100, omniglot-"),
    ("folder:", "is not known"), ("auto", "config.data='auto' is not known"), ("table:x", "is not known")])
def test_a_name_that_is_not_known_is_refused(data, sentence):
  with pytest.raises(ValueError, match=sentence):
    few_shot.build(small(few_shot.get_config("ridge"), data=data))


def test_a_size_without_effect_is_rejected(tmp_path):
  with pytest.raises(ValueError, match="config.image_size=32 has no effect on config.data='cifar-fs'"):
    sources.image_reader("cifar-fs", 32)
  with pytest.raises(FileNotFoundError, match="no folder"):
    sources.image_reader(f"folder:{tmp_path / 'nowhere'}")("train")
  with pytest.raises(ValueError, match="config.data='omniglot' is not known; choose one of cifar-fs, fc100"):
    cifar_fs.build(dataclasses.replace(cifar_fs.get_config(), data="omniglot"))
  with pytest.raises(ValueError, match="choose one of omniglot, glyphs"):
    omniglot.build(dataclasses.replace(omniglot.get_config(), data="cifar-fs"))


def test_every_learner_has_settings_here():
  assert set(few_shot.defaults()) == set(cifar_fs.defaults()) == set(omniglot.defaults())
  adapted_whole = ("maml", "fomaml", "metasgd", "reptile", "imaml")
  for learner in few_shot.defaults():
    own, letters = few_shot.get_config(learner), omniglot.get_config(learner)
    assert own.filters == (32 if learner in adapted_whole else 64)
    # Settings not overridden for photographs are those of letters. All tasks of letters fit; photographs may not.
    chunk = -1 if learner in ("maml", "fomaml", "metasgd") else letters.training.task_chunk
    assert own.training == dataclasses.replace(letters.training, steps=own.training.steps, task_chunk=chunk)
  assert [omniglot.get_config(learner).training.task_chunk for learner in adapted_whole] == [0, 0, 0, -1, -1]
  assert set(table.defaults()) == set(vectors.defaults()) == set(fsmol.defaults()) == set(clinc150.defaults())
