"""The table of results in README.md, generated from finished runs and stored in docs/results.

  python -m benchmarks.results runs/omniglot_protonet runs/omniglot_maml    adds these runs and writes the table
  python -m benchmarks.results                                              writes the table again
"""

import dataclasses
import json
from pathlib import Path
import shutil
import struct
import sys
from typing import Any, Iterator

from tensorboardX.proto.event_pb2 import Event

from benchmarks import tables
from launch import command_line, find

_FOLDER = Path("docs/results")
_README = Path("README.md")
# The published result for each recipe's setting, its source, and what differs here.
_PUBLISHED = {
    "sinusoid_maml": ("loss", "0.67", "Finn et al., 2017, Table 2"),
    "omniglot_protonet": ("accuracy", "98.8 %", "Snell et al., 2017; trained on 60-way tasks, much longer"),
    "omniglot_maml": ("accuracy", "98.7 %", "Finn et al., 2017; 60,000 steps of 32 tasks, 64 filters"),
    "icl_linear": ("loss", "none", "Garg et al. train 500,000 steps; the references are drawn in docs/learners.md"),
    "icl_sparse": ("loss", "none", "as icl_linear"),
    "icl_tree": ("loss", "none", "as icl_linear"),
    "icl_network": ("loss", "none", "as icl_linear"),
    "icl_images": ("accuracy", "none", "our own setting; raw pixels get 41.9 %, python -m benchmarks.pixels"),
    "quickstart": ("accuracy", "none", "our own images; nearest mean of raw pixels: python -m benchmarks.pixels"),
}


def main(runs: list[str]) -> None:
  for run in runs:
    _add(Path(run))
  rows = ["| recipe | what was tested | published | here (mean ± 95 % interval) | steps, minutes of training |",
          "| --- | --- | --- | --- | --- |"]
  for path in sorted(path for path in _FOLDER.glob("*.json") if path.stem in _PUBLISHED):
    rows.append(_row(path.stem, json.loads(path.read_text(encoding="utf-8"))))
  tables.insert(_README, "python -m benchmarks.results", rows)


def _add(run: Path) -> None:
  about = json.loads((run / "run.json").read_text(encoding="utf-8"))
  test = json.loads((run / "test.json").read_text(encoding="utf-8"))
  recipe = Path(about["recipe"]).stem
  if ":" in about["recipe"] or recipe not in _PUBLISHED:  # the learners of one file would overwrite each other
    raise ValueError(f"{about['recipe']} has no row in the table; give it a recipe file and a line in _PUBLISHED.")
  _FOLDER.mkdir(parents=True, exist_ok=True)
  result = {**tables.about(f"python -m launch.train --config={find.name(about['recipe'])}{_changed(about)}"),
            "config": about["config"],
            "test": test, "minutes": round(_minutes(run), 1)}
  (_FOLDER / f"{recipe}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
  for picture in run.glob("*.png"):
    shutil.copy(picture, _FOLDER / f"{recipe}_{picture.name}")


def _changed(about: dict[str, Any]) -> str:
  """Returns the flags of the settings of a run that are not the recipe's defaults."""
  flags = []

  def compare(prefix, config, defaults):
    for name, value in config.items():
      if isinstance(value, dict):
        compare(f"{prefix}{name}.", value, defaults.get(name, {}))
      elif value != defaults.get(name):
        flags.append(f" --config.{prefix}{name}={value}")

  compare("", about["config"], json.loads(json.dumps(dataclasses.asdict(
      command_line.default_config(find.name(about["recipe"]))))))
  return "".join(flags)


def _row(recipe: str, result: dict[str, Any]) -> str:
  measure, published, remark = _PUBLISHED[recipe]
  found = result["test"]["results"][measure]
  scale, unit, digits = (100, " %", 2) if measure == "accuracy" else (1, "", 3)
  here = f"{found['mean'] * scale:.{digits}f} ± {found['interval_95'] * scale:.{digits}f}{unit}"
  page = find.recipes()[recipe].relative_to(find.ROOT)
  return (f"| [{recipe}]({page}) | {result['test']['notes']} {result['test']['episodes']} episodes. "
          f"| {published} ({remark}) | **{here}** | {result['config']['training']['steps']:,}, {result['minutes']} |")


def _minutes(run: Path) -> float:
  """Returns the minutes of training, from the times at which rows of metrics were written."""
  total, rows = 0.0, 0
  for path in (run / "tensorboard").glob("events.*"):
    times = [event.wall_time for event in _events(path) if event.HasField("summary")]
    if times:  # a session that only tested wrote none
      total, rows = total + times[-1] - times[0], rows + len(times) - 1
  return total * (rows + 1) / rows / 60  # the time of the first row is not covered


def _events(path: Path) -> Iterator[Event]:
  content = path.read_bytes()
  place = 0
  while place < len(content):
    size, = struct.unpack_from("<Q", content, place)
    yield Event.FromString(content[place + 12:place + 12 + size])  # a length and its checksum before, a checksum after
    place += 12 + size + 4


if __name__ == "__main__":
  main(sys.argv[1:])
