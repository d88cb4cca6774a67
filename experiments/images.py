"""What the recipes on images share: where the images come from, the tasks made of them, and the pictures."""

import sys
from typing import Callable, Mapping, NamedTuple

from matplotlib.figure import Figure

from experiments.sources import Reader, image_reader
from metajax import losses, pictures
from metajax.data import glyphs, omniglot
from metajax.data.augmentation import augmented, crop, flip, jitter
from metajax.data.class_data import ClassData
from metajax.data.classes import class_tasks
from metajax.data.host import fits_device
from metajax.objectives import views
from metajax.types import Learner, Params, PRNGKey, TaskDistribution


class Tasks(NamedTuple):
  """The tasks of one split: called with the `ways`, `shots` and `queries` of `class_tasks`, it makes them."""
  split: str
  data: ClassData
  rotations: bool
  one_turn: bool = False
  augment: bool = False
  on_host: bool = False

  @property
  def source(self) -> str:
    """The sentence to say beside every result."""
    return self.data.source

  def __call__(self, *, ways: int, shots: int, queries: int) -> TaskDistribution:
    try:
      tasks = class_tasks(self.data, ways=ways, shots=shots, queries=queries, rotations=self.rotations,
                          one_turn=self.one_turn, on_host=self.on_host)
    except ValueError as error:
      raise ValueError(f"there can be no such {self.split} tasks: {error}") from error
    return self.augmented(tasks)

  def augmented(self, tasks: TaskDistribution) -> TaskDistribution:
    """Returns tasks with their images shifted, mirrored and recoloured, if that is asked for."""
    # A shift of an eighth of the side, as of 4 pixels in 32.
    return augmented(tasks, crop(max(1, self.data.examples.shape[1] // 8)), flip, jitter()) if self.augment else tasks


def image_tasks(data: str, one_turn: bool = False, image_size: int = 0, augment: bool = False
                ) -> Callable[[str], Tasks]:
  """Returns a function from a split (train, val, test) to a maker of its tasks, `class_tasks` but for the source.

  Args:
    data: as `image_reader` takes it; omniglot has rotated classes in training, as is usual. Or auto: Omniglot where it
      is to be had and glyphs otherwise, said loudly. A recipe that reports a benchmark must not use auto.
    one_turn: turn all classes of a training task alike, where they are turned.
    image_size: as for `image_reader`.
    augment: shift, mirror and recolour the images of training tasks.

  Raises:
    ValueError: for another word.
    FileNotFoundError: if the data is not to be had.
  """
  load = _omniglot_or_glyphs() if data == "auto" else image_reader(data, image_size)
  turned = lambda split: split == "train" and data == "omniglot"

  def tasks(split: str) -> Tasks:
    source = load(split)
    on_host = not fits_device(source.examples.nbytes)
    if on_host:
      print(f"The {split} images take {source.examples.nbytes / 2**30:.1f} GiB, too much for the device: they stay on "
            "the host, from where each step fetches its own.", file=sys.stderr)
    return Tasks(split, source, rotations=turned(split), one_turn=one_turn and turned(split),
                 augment=augment and split == "train", on_host=on_host)

  return tasks


def whole_tasks(tasks: Tasks, ways: int) -> tuple[TaskDistribution, views.Views]:
  """Returns what models of unseen tasks are learned from: a hundred images, and subsets of a quarter of them.

  Fewer where there are not as many, and at least two of each class.
  """
  half = max(1, min(10, 50 // ways, int(tasks.data.counts.min()) // 2))
  return tasks(ways=ways, shots=half, queries=half), views.balanced_subsets(10, ways, -(-half // 2))


def image_pictures(learner: Learner, tasks: Tasks, *, ways: int, shots: int
                   ) -> Callable[[Params, PRNGKey], Mapping[str, Figure]]:
  """Returns the maker of an episode's picture and of the task-representation map."""

  def draw(params, key):
    fewest = int(tasks.data.counts.min())  # examples of a class: it may have none to spare
    queries = max(1, min(3, fewest - shots))
    episode = pictures.image_picture(learner, losses.softmax_cross_entropy, params,
                                     tasks(ways=ways, shots=shots, queries=queries), key)
    task_map, _ = pictures.map_picture(
        learner, params, *whole_tasks(tasks, ways), key, f"Models of ten tasks of {ways} classes, ten subsets each")
    return {"episode.png": episode, "task_map.png": task_map}

  return draw


def _omniglot_or_glyphs() -> Reader:
  try:
    omniglot.load("train")
    return omniglot.load
  except FileNotFoundError as error:
    print(f"NOT OMNIGLOT: {error} Using glyphs rendered from installed fonts instead; do not compare the numbers "
          "with published ones.", file=sys.stderr)
    return glyphs.load
