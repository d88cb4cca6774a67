"""Benchmarks with published lists of classes and images provided by the user: miniImageNet, tieredImageNet, CUB.

Their images may not be redistributed, so they are read from a folder `<root>/<class>/<image>` of the user. Vinyals et
al., 2016, as split by Ravi & Larochelle, 2017 (https://openreview.net/forum?id=rJY0-Kcll): 64 / 16 / 20 classes; Ren et
al., 2018 (https://arxiv.org/abs/1803.00676): 351 / 97 / 160; CUB as in torchmeta: 100 / 50 / 50.
"""

from importlib import resources
import json
from pathlib import Path
from typing import Mapping, Sequence

from metajax.data import folders
from metajax.tasks.class_data import ClassData, check_disjoint, check_split

PROTOCOLS = ("miniimagenet", "tieredimagenet", "cub")


def load(root: Path | str, split: str, *, protocol: str, image_size: int = 84) -> ClassData:
  """Returns the classes of one split, sorted by name, with all images in their folders.

  Args:
    root: a folder with a sub-folder for each class, named by ImageNet id such as n01532829, or by CUB class such as
      001.Black_footed_Albatross. Other sub-folders are ignored.
    split: train, val or test.
    protocol: miniimagenet, tieredimagenet (whose groups are super-classes) or cub.
    image_size: as in `folders.load`.

  Raises:
    FileNotFoundError: if there is no such folder, or it lacks a class of the list.
    ValueError: for an unknown split or protocol, or if an image cannot be decoded.
  """
  check_split(split)
  groups = class_list(protocol)[split]
  root = Path(root).expanduser()
  names = sorted(groups)
  if missing := [name for name in names if not (root / name).is_dir()]:
    raise FileNotFoundError(f"expected the {len(names)} {split} classes of {protocol} as sub-folders of {root}, which "
                            f"lacks {len(missing)} of them, {missing[0]} first.")
  title = {"miniimagenet": "miniImageNet", "tieredimagenet": "tieredImageNet", "cub": "CUB"}[protocol]
  data = folders.read([root / name for name in names], image_size, False,
                      f"{title}, the published {split} classes, images of the folder {root.name}.")
  return data._replace(groups=tuple(groups[name] for name in names) if any(groups.values()) else ())


def class_list(protocol: str) -> Mapping[str, Mapping[str, str]]:
  """Returns the classes of train, val and test, each with its super-class ('' without super-classes).

  Raises:
    ValueError: for an unknown protocol.
  """
  if protocol not in PROTOCOLS:
    raise ValueError(f"there are class lists of {', '.join(PROTOCOLS)}, not of {protocol!r}; give one of these.")
  stored: Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]] = json.loads(
      (resources.files("metajax.data") / "splits" / f"{protocol}.json").read_text("utf-8"))
  lists = {split: {name: group for group, names in (part.items() if isinstance(part, Mapping) else [("", part)])
                   for name in names} for split, part in stored.items()}
  check_disjoint({split: list(names) for split, names in lists.items()}, protocol)
  return lists
