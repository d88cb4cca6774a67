"""Every learner that can classify, with ConML, on any images: a folder, arrays, or a benchmark by name, 5-way 1-shot.

The network is a Conv4 with 64 filters, or 32 if all weights are adapted. Training images are shifted, mirrored and
recoloured on the device.
--help lists the learners.
Needs: the data of --config.data: your images, or CIFAR-100 for cifar-fs and fc100, in METAJAX_DATA_DIR or downloaded.
ConML: on by default; --config.conml=False trains without it.
Command: python -m launch.train --config=few_shot:protonet --config.data=folder:pictures
where pictures/<class>/ are folders of images, or pictures/{train,val,test}/<class>/ for your own splits.
Common flags: --config.data=npz:arrays.npz (inputs [n, H, W, channels], targets [n]) or cifar-fs or fc100,
--config.image_size=32 --config.augment=False; --config.min_ways=2 --config.min_shots=1 for unequal training tasks.
"""

from dataclasses import dataclass
import functools
from typing import Any, Callable, Mapping

from experiments import learner_table, own_classes
from experiments.few_shot import omniglot
from experiments.images import Tasks, image_tasks
from experiments.learner_table import merged
from experiments.settings import changed, check_at_least, choose
from metajax.lab.recipe import Recipe
from metajax.tasks.class_data import ClassData
from metajax.tasks.diverse import diverse
from metajax.tasks.ragged import ragged_tasks
from metajax.tasks.task_augmentation import interpolated
from metajax.types import TaskDistribution

_LAYERS = 4  # of the Conv4


@dataclass
class Config(omniglot.Config):
  """The settings of the recipe omniglot, for other images."""
  data: str = "cifar-fs"  # cifar-fs, fc100, folder:<path>, npz:<path>, omniglot or glyphs
  image_size: int = 0  # side to which images of a folder are resized; 0: 84
  augment: bool = True  # shift, mirror and recolour training images; for photographs, not letters
  min_ways: int = 0  # minimum number of classes per training task, sampled up to the maximum; 0: always the maximum
  min_shots: int = 0  # minimum number of training shots per class, sampled up to `shots`; 0: always `shots`
  balanced: bool = True  # the same number of sampled shots for all classes of a training task
  one_group: bool = False  # all classes of a training task from one alphabet or super-class
  mixed: float = 0.0  # share of training tasks that interpolate two tasks at a random layer (MLTI)
  candidates: int = 0  # candidate tasks per meta-batch, from which a DPP selects a diverse subset; 0: no selection
  filters: int = 64


def defaults() -> Mapping[str, Mapping[str, Any]]:
  """Returns the learners of this recipe, each with its settings that differ from `Config`."""
  # Less than an hour on two cores at 80 GFLOP/s for 32 x 32 pixels, estimated from the FLOPs that --dry_run reports.
  photographs = {"training": {"steps": 6000}}
  # 32 filters if all weights are adapted (Finn et al., 2017); more and smaller inner steps than for letters. One task
  # at a time, because images may be large.
  own = lambda row: {**photographs, "filters": 32} if row.whole else photographs
  letters = {name: {field: value for field, value in settings.items() if field not in ("filters", "one_turn")}
             for name, settings in omniglot.defaults().items()}  # no rotation
  return {name: merged(letters[name], own(row), row.offered.get("photographs", {}))
          for name, row in learner_table.offered("images").items()}


def get_config(learner: str = "protonet") -> Config:
  """Returns the settings of a learner."""
  return changed(Config(learner=learner), choose("learner", learner, defaults()))


def build(config: Config) -> Recipe:
  """Returns the recipe of these settings."""
  check_at_least(0, config, "image_size", "min_ways", "min_shots", "mixed", "candidates")
  if config.data == "auto":
    choose("data", config.data, {"omniglot": None, "glyphs": None, "cifar-fs": None, "fc100": None})
  own = get_config(config.learner) if own_classes.is_own(config.data) else None
  return omniglot.build_on(config, lambda: _images(config), own)


def _images(config: Config) -> Callable[[str], Tasks]:
  tasks = image_tasks(config.data, config.one_turn, config.image_size, config.augment, config.examples,
                      config.workers)
  ragged = bool(config.min_ways or config.min_shots or config.one_group or not config.balanced)

  def checked(split: str) -> Tasks:
    made = tasks(split)
    shape = made.data.examples.shape
    if len(shape) != 4 or min(shape[1:3]) < 16:
      raise ValueError(f"config.data={config.data!r} must hold images [n, H, W, channels] of at least 16 x 16 pixels, "
                       f"which a Conv4 halves four times, but its inputs are {list(shape)}; for vectors, use "
                       "the recipe vectors.")
    if split != "train":
      return made
    made = made._replace(plugged=functools.partial(_plugged, config))
    if not ragged:
      return made
    if made.rotations:
      raise ValueError(f"config.data={config.data!r} has rotated classes in training, which tasks of unequal size "
                       "do not support; leave config.min_ways, min_shots, balanced and one_group at their defaults.")
    return made._replace(unequal=functools.partial(_ragged, config))

  return checked


def _plugged(config: Config, tasks: TaskDistribution) -> TaskDistribution:
  if config.mixed:
    tasks = interpolated(tasks, share=config.mixed, stages=_LAYERS)
  if config.candidates:
    tasks = diverse(tasks, num_tasks=config.training.tasks_per_step, candidates=config.candidates)
  return tasks


def _ragged(config: Config, data: ClassData, *, ways: int, shots: int, queries: int, on_host: bool) -> TaskDistribution:
  within = config.one_group or config.data == "omniglot-lake"
  return ragged_tasks(data, ways=(config.min_ways or ways, ways), shots=(config.min_shots or shots, shots),
                      queries=queries, balanced=config.balanced, one_group=within, on_host=on_host,
                      unequal=own_classes.is_own(config.data))
