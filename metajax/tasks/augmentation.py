"""Image augmentations inside the compiled step: plug-ins for any task distribution and learner.

A transform is `(key, image [H, W, channels]) -> image` of the same shape. `augmented` draws it independently for every
example of every task.
"""

from typing import Callable

import jax
import jax.numpy as jnp

from metajax.types import Array, Examples, PRNGKey, TaskDistribution

Transform = Callable[[PRNGKey, Array], Array]


def augmented(tasks: TaskDistribution, *transforms: Transform) -> TaskDistribution:
  """Returns the same tasks with each image of support and query transformed, in the given order.

  The draw is a function of the task's key, so equal keys still give equal episodes.

  Args:
    tasks: with real inputs `[N, H, W, channels]`.
    *transforms: each gets its own key for each example.

  Raises:
    ValueError: if there is no transform; when sampled, if inputs are not images.
  """
  if not transforms:
    raise ValueError("augmented needs at least one transform, but none was given.")

  def one(key, image):
    for transform, each in zip(transforms, jax.random.split(key, len(transforms))):
      image = transform(each, image)
    return image

  def apply(key: PRNGKey, part: Examples) -> Examples:
    if jnp.ndim(part.inputs) != 4:
      raise ValueError("images [N, H, W, channels] can be augmented, but the inputs are "
                       f"{list(jnp.shape(part.inputs))}.")
    return part._replace(inputs=jax.vmap(one)(jax.random.split(key, part.inputs.shape[0]), part.inputs))

  def sample(data, key):
    key_task, key_support, key_query = jax.random.split(key, 3)
    episode = tasks.sample(data, key_task)
    return episode._replace(support=apply(key_support, episode.support), query=apply(key_query, episode.query))

  return tasks._replace(sample=sample)


def crop(margin: int) -> Transform:
  """Returns a transform that shifts an image by up to `margin` pixels in each direction, with mirrored borders.

  Raises:
    ValueError: if the margin is not positive; when called, if it is not less than the image's sides.
  """
  if margin < 1:
    raise ValueError(f"a crop needs a margin of at least 1 pixel, but got {margin}.")

  def transform(key, image):
    if margin >= min(image.shape[:2]):
      raise ValueError(f"the margin {margin} of a crop must be less than the image's sides, {list(image.shape[:2])}.")
    padded = jnp.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    corner = jax.random.randint(key, (2,), 0, 2 * margin + 1)
    return jax.lax.dynamic_slice(padded, (corner[0], corner[1], jnp.zeros_like(corner[0])), image.shape)

  return transform


def flip(key: PRNGKey, image: Array) -> Array:
  """Returns the image or its horizontal mirror image, with equal probability."""
  return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def jitter(brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4,
           span: tuple[float, float] = (0.0, 1.0)) -> Transform:
  """Returns a transform of an image that scales brightness, contrast and saturation by `1 +- strength`.

  Saturation has no effect on images of one channel. Values stay in `span`, the range of the images' values, from black
  to white.

  Raises:
    ValueError: if a strength is outside [0, 1], or the range is empty.
  """
  for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
    if not 0 <= strength <= 1:
      raise ValueError(f"the strength of {name} must be in [0, 1], but it is {strength}.")
  low, high = span
  if not low < high:
    raise ValueError(f"the range of the images' values must go from low to high, but it is [{low}, {high}].")

  def transform(key, image):
    ranges = jnp.asarray([brightness, contrast, saturation], image.dtype)
    factors = 1 + ranges * jax.random.uniform(key, (3,), image.dtype, -1, 1)
    if span != (0.0, 1.0):
      image = (image - low) / (high - low)
    image = image * factors[0]
    image = jnp.mean(image) * (1 - factors[1]) + image * factors[1]
    grey = jnp.mean(image, axis=-1, keepdims=True)
    image = jnp.clip(grey * (1 - factors[2]) + image * factors[2], 0, 1)
    return image if span == (0.0, 1.0) else low + (high - low) * image

  return transform


def rotate(key: PRNGKey, image: Array) -> Array:
  """Returns a square image rotated by 0, 90, 180 or 270 degrees, with equal probability.

  For classes that are invariant to rotation. `class_tasks(rotations=True)` instead treats rotated classes as new
  classes.
  """
  turned = jnp.stack([jnp.rot90(image, quarter) for quarter in range(4)])
  return turned[jax.random.randint(key, (), 0, 4)]
