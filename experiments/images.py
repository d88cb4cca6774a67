"""What the recipes on images share: where the images come from, the tasks made of them, and the pictures."""

import sys
from typing import Callable, Mapping, NamedTuple

from matplotlib.figure import Figure

from experiments.settings import choose
from metajax import losses, pictures
from metajax.data import glyphs, omniglot
from metajax.data.class_data import ClassData
from metajax.data.classes import class_tasks
from metajax.objectives import views
from metajax.types import Learner, Params, PRNGKey, TaskDistribution

Reader = Callable[[str], ClassData]  # from a split


class Tasks(NamedTuple):
  """The tasks of one split: called with the `ways`, `shots` and `queries` of `class_tasks`, it makes them."""
  split: str
  data: ClassData
  rotations: bool
  one_turn: bool = False

  @property
  def source(self) -> str:
    """The sentence to say beside every result."""
    return self.data.source

  def __call__(self, *, ways: int, shots: int, queries: int) -> TaskDistribution:
    try:
      return class_tasks(self.data, ways=ways, shots=shots, queries=queries, rotations=self.rotations,
                         one_turn=self.one_turn)
    except ValueError as error:
      raise ValueError(f"there can be no such {self.split} tasks: {error}") from error


def image_tasks(data: str, one_turn: bool = False) -> Callable[[str], Tasks]:
  """Returns a function from a split (train, val, test) to a maker of its tasks, `class_tasks` but for the source.

  Args:
    data: omniglot (with rotated classes in training, as is usual), glyphs, or auto: Omniglot where it is to be had and
      glyphs otherwise, said loudly. A recipe that reports a benchmark must not use auto.
    one_turn: turn all classes of a training task alike.

  Raises:
    ValueError: for another word.
    FileNotFoundError: if the data is not to be had.
  """
  readers: Mapping[str, Callable[[], Reader]] = {
      "omniglot": lambda: omniglot.load, "glyphs": lambda: glyphs.load, "auto": _omniglot_or_glyphs}
  load = choose("data", data, readers)()
  turned = lambda split: split == "train" and data == "omniglot"
  return lambda split: Tasks(split, load(split), rotations=turned(split), one_turn=one_turn and turned(split))


def whole_tasks(tasks: Tasks, ways: int) -> tuple[TaskDistribution, views.Views]:
  """Returns what models of unseen tasks are learned from: twenty images of each class, and subsets of five."""
  return tasks(ways=ways, shots=10, queries=10), views.balanced_subsets(10, ways, 5)


def image_pictures(learner: Learner, tasks: Tasks, *, ways: int, shots: int
                   ) -> Callable[[Params, PRNGKey], Mapping[str, Figure]]:
  """Returns the maker of an episode's picture and of the task-representation map."""

  def draw(params, key):
    queries = min(3, int(tasks.data.counts.min()) - shots)  # a class may have no three to spare
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
