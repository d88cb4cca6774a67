"""Augmentations: what they change, what they preserve, and independent draws per example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metajax.tasks.augmentation import augmented, crop, flip, jitter, rotate
from metajax.tasks.class_data import from_arrays
from metajax.tasks.classes import class_tasks

IMAGE = np.random.default_rng(0).uniform(0.2, 0.8, (6, 6, 3)).astype(np.float32)


def many(transform, image=IMAGE, count=200):
  return np.asarray(jax.jit(jax.vmap(lambda key: transform(key, jnp.asarray(image))))(
      jax.random.split(jax.random.key(0), count)))


def kinds(images):
  return len(np.unique(images.reshape(len(images), -1), axis=0))


def test_a_crop_is_one_of_all_shifts_of_the_mirrored_image():
  padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), mode="reflect")
  shifts = [padded[i:i + 6, j:j + 6] for i in range(5) for j in range(5)]
  images = many(crop(2))
  assert all(any((image == shift).all() for shift in shifts) for image in images) and kinds(images) == 25


def test_a_flip_is_the_image_or_its_mirror_image():
  images = many(flip)
  mirrored = (images == IMAGE[:, ::-1]).all(axis=(1, 2, 3))
  assert ((images == IMAGE).all(axis=(1, 2, 3)) | mirrored).all() and 60 < mirrored.sum() < 140


def test_a_turn_is_one_of_four():
  images = many(rotate)
  turns = [np.rot90(IMAGE, quarter) for quarter in range(4)]
  assert all(any((image == turn).all() for turn in turns) for image in images) and kinds(images) == 4


def test_jitter_changes_what_it_is_told_to_and_stays_in_range():
  brighter = many(jitter(0.4, 0, 0)) / IMAGE[None]
  np.testing.assert_allclose(np.clip(brighter, 0.6, 1.4), brighter, atol=1e-5)
  factors = brighter.reshape(200, -1).min(axis=1)  # clipped at 1
  assert factors.min() < 0.65 and factors.max() > 1.1
  grey = many(jitter(0, 0, 1.0)) - IMAGE.mean(-1, keepdims=True)[None]
  ratio = grey / (IMAGE - IMAGE.mean(-1, keepdims=True))[None]
  assert np.median(ratio, axis=(1, 2, 3)).min() < 0.1
  np.testing.assert_allclose(many(jitter(0, 0.5, 0)).mean((1, 2, 3)), np.full(200, IMAGE.mean()), atol=1e-5)
  np.testing.assert_allclose(many(jitter(0, 0, 0), count=2), [IMAGE] * 2, atol=1e-6)
  wild = many(jitter(1, 1, 1))
  assert wild.min() >= 0 and wild.max() <= 1


@pytest.mark.parametrize("low, high", [(0.0, 255.0), (-2.5, 2.5), (-1.0, 0.0)])
def test_jitter_in_another_range_is_the_same_jitter(low, high):
  np.testing.assert_allclose(many(jitter(span=(low, high)), low + (high - low) * IMAGE),
                             low + (high - low) * many(jitter()), rtol=1e-4, atol=1e-4 * (high - low))


def test_each_example_has_its_own_draw_and_labels_are_kept():
  data = from_arrays(np.tile(IMAGE, (12, 1, 1, 1)), np.repeat(np.arange(3), 4))
  plain = class_tasks(data, ways=3, shots=2, queries=2)
  tasks = augmented(plain, crop(2), jitter())
  draw = jax.jit(tasks.sample)
  support, query = jax.tree.map(np.asarray, draw(tasks.data, jax.random.key(3)))
  assert kinds(np.concatenate([support.inputs, query.inputs])) == 12
  np.testing.assert_array_equal(support.targets, [0, 0, 1, 1, 2, 2])
  again = draw(tasks.data, jax.random.key(3))
  np.testing.assert_array_equal(again.query.inputs, query.inputs)


@pytest.mark.parametrize("make, sentence", [
    (lambda: crop(0), "at least 1 pixel"), (lambda: jitter(brightness=2), r"brightness must be in \[0, 1\]"),
    (lambda: jitter(span=(1.0, 1.0)), "from low to high"),
    (lambda: augmented(None), "at least one transform"), (lambda: many(crop(6)), "margin 6 .* less than")])
def test_invalid_arguments_are_rejected(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


def test_only_images_are_augmented():
  tasks = augmented(class_tasks(from_arrays(np.zeros((8, 3)), np.repeat(np.arange(2), 4)), ways=2, shots=1, queries=1),
                    flip)
  with pytest.raises(ValueError, match=r"images .* can be augmented, but the inputs are \[2, 3\]"):
    tasks.sample(tasks.data, jax.random.key(0))
