"""Shared by the recipes on images: the sources of images, their tasks, and the figures."""

import functools
import sys
from typing import Any, Callable, Mapping, NamedTuple

import jax.numpy as jnp
from matplotlib.figure import Figure

from experiments.settings import choose
from experiments.sources import Reader, image_reader
from metajax import losses
from metajax.data import glyphs, omniglot
from metajax.lab import pictures
from metajax.lab.cost import words
from metajax.objectives import views
from metajax.serving.inputs import Raw
from metajax.tasks.augmentation import augmented, crop, flip, jitter
from metajax.tasks.class_data import ClassData, numbered
from metajax.tasks.classes import class_tasks
from metajax.tasks.host import fits_device
from metajax.tasks.ragged import ragged_tasks
from metajax.training.hosts import is_writer
from metajax.training.pipeline import Reading
from metajax.types import Learner, Params, PRNGKey, TaskDistribution

DRAWINGS = ("omniglot", "glyphs", "omniglot-vinyals", "omniglot-lake", "auto")  # data with ink 255 on paper 0


class Tasks(NamedTuple):
  """The tasks of one split. Call it with `ways`, `shots` and `queries`, as for `class_tasks`."""
  split: str
  data: ClassData
  rotations: bool
  one_turn: bool = False
  augment: bool = False
  on_host: bool = False
  reading: Reading | None = None
  unequal: Callable[..., TaskDistribution] | None = None  # instead of `class_tasks`
  padded: bool = False  # whether small classes have fewer queries, instead of being refused
  plugged: Callable[[TaskDistribution], TaskDistribution] | None = None  # the last transformation of the tasks

  def raw(self, data: str) -> Raw:
    """Returns what the images are before they become inputs; `data` is the name of the data set."""
    return Raw(image=tuple(self.data.examples.shape[1:]), ink=data in DRAWINGS)

  @property
  def source(self) -> str:
    """The sentence to state with every result."""
    return self.data.source

  def __call__(self, *, ways: int, shots: int, queries: int) -> TaskDistribution:
    make = self.unequal or functools.partial(class_tasks, rotations=self.rotations, one_turn=self.one_turn,
                                             unequal=self.padded)
    try:
      tasks = make(self.data, ways=ways, shots=shots, queries=queries, on_host=self.on_host)
    except ValueError as error:
      raise ValueError(f"such {self.split} tasks are impossible: {error}") from error
    # A shift of an eighth of the side, such as 4 of 32 pixels.
    if self.augment:
      tasks = augmented(tasks, crop(max(1, self.data.examples.shape[1] // 8)), flip, jitter(span=_span(self.data)))
    return self.plugged(tasks) if self.plugged else tasks


def image_tasks(data: str, one_turn: bool = False, image_size: int = 0, augment: bool = False,
                examples: str = "auto", workers: int = 0) -> Callable[[str], Tasks]:
  """Returns a function from a split (train, val, test) to a maker of its tasks, `class_tasks` but for the source.

  Args:
    data: as for `image_reader`; omniglot has rotated classes in training, as is usual. Or auto: Omniglot if available,
      otherwise glyphs, with a warning. A recipe that reports a benchmark must not use auto.
    one_turn: rotate all classes of a training task alike, if classes are rotated.
    image_size: as for `image_reader`.
    augment: shift, mirror and recolour the images of training tasks.
    examples, workers: as for `placed`.

  Raises:
    ValueError: for an unknown word.
    FileNotFoundError: if the data is not available.
  """
  load = _omniglot_or_glyphs() if data == "auto" else image_reader(data, image_size)
  turned = lambda split: split == "train" and data in ("omniglot", "omniglot-vinyals")

  def tasks(split: str) -> Tasks:
    made = Tasks(split, load(split), rotations=turned(split), one_turn=one_turn and turned(split),
                 augment=augment and split == "train", unequal=_within_group if data == "omniglot-lake" else None)
    return placed(made, examples, workers)

  return tasks


def placed(tasks: Tasks, examples: str, workers: int) -> Tasks:
  """Returns the tasks with their images on the device or on the host.

  Args:
    tasks: those of one split.
    examples: device; host, where each step fetches its own; pipeline, on the host with prefetching for training; auto:
      device if they take at most half of its memory, otherwise pipeline.
    workers: number of prefetching processes; 0: a thread.

  Raises:
    ValueError: for an unknown word, or workers without a pipeline.
  """
  where = choose("examples", examples, {"auto": "", "device": "device", "host": "host", "pipeline": "pipeline"})
  if workers and examples in ("device", "host"):
    raise ValueError(f"config.workers={workers} processes prefetch only with config.examples=pipeline, but it is "
                     f"{examples}; leave it at 0.")
  size = tasks.data.examples.nbytes
  if not where:
    where = "device" if fits_device(size) else "pipeline"
    if where == "pipeline" and is_writer():
      print(f"The {tasks.split} images take {words(size)}, too much for the device: they stay on the host, "
            "which prefetches for training steps.", file=sys.stderr)
    if where == "device" and workers and tasks.split == "train" and is_writer():
      print(f"The {tasks.split} images take {words(size)} and fit the device, so nothing is prefetched and the "
            f"{workers} processes of config.workers are not started; to start them, give config.examples=pipeline.",
            file=sys.stderr)
  if where == "device":  # once, for all tasks made from them
    held: Any = jnp.asarray(tasks.data.examples)
    tasks = tasks._replace(data=tasks.data._replace(examples=held))
  return tasks._replace(on_host=where != "device",
                        reading=Reading(workers) if where == "pipeline" and tasks.split == "train" else None)


def _within_group(data: ClassData, *, ways: int, shots: int, queries: int, on_host: bool) -> TaskDistribution:
  return ragged_tasks(data, ways=(ways, ways), shots=(shots, shots), queries=queries, one_group=True, on_host=on_host)


def whole_tasks(tasks: Tasks, ways: int) -> tuple[TaskDistribution, views.Views]:
  """Returns the tasks and subsets for models of unseen tasks: a hundred images, and subsets of a quarter of them.

  Fewer if there are not as many images, and at least two per class.
  """
  half = max(1, min(10, 50 // ways, int(tasks.data.counts.min()) // 2))
  return tasks(ways=ways, shots=half, queries=half), views.balanced_subsets(10, ways, -(-half // 2))


def image_pictures(learner: Learner, tasks: Tasks, *, ways: int, shots: int
                   ) -> Callable[[Params, PRNGKey], Mapping[str, Figure]]:
  """Returns a function that draws an episode, with the names of its classes, and the task-representation map."""

  def draw(params, key):
    fewest = int(tasks.data.counts.min())  # per class, which may have no further examples
    shape = {"ways": ways, "shots": shots, "queries": max(1, min(3, fewest - shots))}
    same = tasks._replace(data=numbered(tasks.data), on_host=False)
    episode = pictures.image_picture(learner, losses.softmax_cross_entropy, params, tasks(**shape), key,
                                     pictures.Named(same(**shape), tasks.data.names))
    task_map, _ = pictures.map_picture(
        learner, params, *whole_tasks(tasks, ways), key, f"Models of ten tasks of {ways} classes, ten subsets each")
    return {"episode.png": episode, "task_map.png": task_map}

  return draw


def _span(data: ClassData) -> tuple[float, float]:
  """The range of the images' values as a network gets them: [0, 1], or their own if they leave it."""
  if data.examples.dtype == jnp.uint8:
    return 0.0, 1.0
  low, high = float(data.examples.min()), float(data.examples.max())
  return (0.0, 1.0) if 0 <= low and high <= 1 else (min(low, 0.0), high if high > low else low + 1)


def _omniglot_or_glyphs() -> Reader:
  try:
    omniglot.load("train")
    return omniglot.load
  except FileNotFoundError as error:
    print(f"NOT OMNIGLOT: {error} Using glyphs rendered from installed fonts instead; do not compare the results "
          "with published ones.", file=sys.stderr)
    return glyphs.load
