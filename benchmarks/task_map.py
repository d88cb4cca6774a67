"""The figure in README: models adapted to subsets of unseen tasks, after training without and with ConML.

  python -m benchmarks.task_map                                trains the quickstart twice, 200 steps each
  python -m benchmarks.task_map runs/without runs/with         two existing runs of one recipe

Both runs train on the same tasks, and the maps show the same ten unseen tasks. Writes docs/results/task_map.png, and
both test results to docs/results/task_map.json.
"""

import dataclasses
import json
from pathlib import Path
import sys

from PIL import Image
import jax
from matplotlib.backends.backend_agg import FigureCanvasAgg
import numpy as np

from benchmarks import tables
from launch import command_line, fields
from metajax.lab import run as runs
from metajax.lab import workdir

_OUT = Path("docs/results/task_map")
_RECIPE = "quickstart"
_STEPS = 200  # fewer than the recipe's: this is an illustration, not a result
_TITLES = ("Without ConML", "With ConML")


def main(given: list[str]) -> None:
  folders = [Path(folder) for folder in given] or [_train(conml) for conml in (False, True)]
  if len(folders) != 2:
    raise ValueError(f"give two runs, one without and one with ConML, or none; got {len(folders)}.")
  about = [workdir.read(folder) for folder in folders]
  different = {name for name in about[0]["config"] if about[0]["config"][name] != about[1]["config"].get(name)}
  if about[0]["recipe"] != about[1]["recipe"] or different - {"contrast"} != {"conml"}:
    raise ValueError("the runs must have the same recipe and differ only in conml, but they differ in "
                     f"{sorted(different)}.")
  pictures = [_draw(folder, title, last=folder is folders[-1]) for folder, title in zip(folders, _TITLES)]
  height = max(picture.shape[0] for picture in pictures)
  padded = [np.pad(picture, ((0, height - picture.shape[0]), (0, 20), (0, 0)), constant_values=255)
            for picture in pictures]
  Image.fromarray(np.concatenate(padded, axis=1)).save(_OUT.with_suffix(".png"))
  result = {**tables.about("python -m benchmarks.task_map"), "recipe": about[0]["recipe"], "config": about[1]["config"]}
  for title, folder in zip(_TITLES, folders):
    result[title.lower()] = json.loads((folder / "test.json").read_text(encoding="utf-8"))
  _OUT.with_suffix(".json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _train(conml: bool) -> Path:
  config = dataclasses.replace(command_line.default_config(_RECIPE), conml=conml, data="glyphs")
  config.training.steps = _STEPS
  folder = Path(f"runs/task_map_{'with' if conml else 'without'}")
  workdir.claim(folder, command_line.recorded(folder, _RECIPE), dataclasses.asdict(config))
  runs.run(command_line.build(_RECIPE, config), folder)
  return folder


def _draw(folder: Path, title: str, last: bool) -> np.ndarray:
  """Returns the map of a run as an image `[height, width, 3]`; only the last map has a legend."""
  run = workdir.read(folder)
  built = command_line.build(run["recipe"], fields.from_mapping(command_line.default_config(run["recipe"]),
                                                                run["config"]))
  params = jax.device_put(runs.restore(built, folder).params, jax.devices()[0])
  figure = built.pictures(params, jax.random.key(built.test.seed))["task_map.png"]
  figure.axes[0].set_title(title, fontsize=14, loc="left")
  if not last:
    figure.legends[0].remove()
    figure.set_size_inches(figure.get_figwidth() - 1.0, figure.get_figheight())
  figure.set_dpi(110)
  canvas = FigureCanvasAgg(figure)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3]


if __name__ == "__main__":
  main(sys.argv[1:])
