"""Kills runs at random moments, restarts them, and compares the results, bit by bit, with an uninterrupted run.

  python -m launch.faults                      100 kills; the count and the outcome are printed
  python -m launch.faults --kills=8 --recipes=sinusoid --layouts=1x1 --record=runs/few.json

Outcomes are kept in `--record`; the same command resumes, and a command with more kills adds to them. `python -m
benchmarks.reliability` writes the table of docs/reliability.md from the record.

Two kills in three are SIGKILL, at any moment of the run, from start-up to the last figure, or during a save. The third
is SIGTERM, after which the run must exit with code 75 or, before training has begun, be killed. If a run has several
processes, SIGKILL ends one of them, and the others shortly after. Every run is killed and restarted at most
`--kills_per_run` times, and then runs to its end. The digest of the final state (parameters, optimizer, step),
metrics.csv, test.json and every test episode are compared. The exit code is 1 if anything differs.
"""

import contextlib
import json
from pathlib import Path
import random
import re
import signal
import sys
import tempfile
import time
from types import MappingProxyType
from typing import Any, Iterator

from absl import flags

# Imported once, for all the processes that are killed.
import experiments.few_shot.quickstart
import experiments.regression.sinusoid  # noqa: F401
from launch import command_line
from launch.kills import Kill, Layout, outcome, trial
import metajax.lab.fork  # noqa: F401
from metajax.lab.measurements import about as about_now
import metajax.lab.provenance  # noqa: F401
from metajax.lab.workdir import write_text

_KILLS = flags.DEFINE_integer("kills", 100, "the number of kills, over all recipes and layouts", lower_bound=1)
_BUCKET = flags.DEFINE_string("bucket", "", "a new folder in a bucket for the workdirs of the runs that are killed, "
                              "such as s3://bucket/faults; by default they are on disk, as all others are")
_KILLS_PER_RUN = flags.DEFINE_integer("kills_per_run", 5, "the maximum number of kills per run", lower_bound=1)
_LAYOUTS = flags.DEFINE_list("layouts", ["1x1", "1x8", "2x1"], "<processes>x<devices per process>")
_RECIPES = flags.DEFINE_list("recipes", ["sinusoid", "quickstart"], "sinusoid is MAML, quickstart is ProtoNet")
_RECORD = flags.DEFINE_string("record", "docs/results/faults.json", "the file that outcomes are kept in")
_MOMENTS = flags.DEFINE_integer("moments", 0, "the seed of the moments of the kills")

_SHORT = ("--config.training.steps=24", "--config.training.steps_per_row=4", "--config.training.rows_per_checkpoint=1",
          "--config.training.steps_per_dispatch=2", "--config.training.tasks_per_step=8", "--config.test.episodes=8",
          "--config.test.val_episodes=4")
_SETTINGS = MappingProxyType({
    "sinusoid": ("--config=sinusoid:maml", "--config.hidden=(4,)", *_SHORT),
    "quickstart": ("--config=quickstart", "--config.data=glyphs", "--config.filters=4", *_SHORT,
                   "--config.training.steps_per_dispatch=1")})


def main(_: list[str]) -> None:
  for name in _RECIPES.value:
    if name not in _SETTINGS:
      raise ValueError(f"--recipes={name} is not known; choose from {', '.join(_SETTINGS)}.")
  cases = [(name, _layout(words)) for name in _RECIPES.value for words in _LAYOUTS.value]
  path, kept = Path(_RECORD.value), _read(Path(_RECORD.value))
  with _leaving_on_sigterm():
    for index, (name, layout) in enumerate(cases):
      share = _KILLS.value * (index + 1) // len(cases) - _KILLS.value * index // len(cases)
      if _hits(kept, name, layout) < share:
        with tempfile.TemporaryDirectory() as folder:
          for one in _trials(name, layout, kept, share, Path(folder)):
            kept["trials"].append(one)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(kept, indent=1) + "\n")
      print(f"{name} in {layout}: {_hits(kept, name, layout)} kills.", flush=True)
  trials = kept["trials"]
  lost, differing = (sum(one["outcome"].startswith(word) for one in trials) for word in ("lost", "differs"))
  print(f"{sum(map(_num_kills, trials))} kills in {len(trials)} runs: {lost} runs lost, {differing} runs with a "
        "differing bit.")
  raise SystemExit(int(bool(lost or differing)))


def _trials(name: str, layout: Layout, kept: dict[str, Any], share: int, folder: Path) -> Iterator[dict[str, Any]]:
  """Yields the outcome of one run after the other, until they have been killed `share` times in all."""
  settings, whole = _SETTINGS[name], 0.0
  expected: dict[str, bytes] = {}
  for left_alone in ("compiles", "timed"):
    begun = time.monotonic()
    fault = trial(settings, layout, str(folder / left_alone), folder / f"{left_alone}.log", [])[1]
    if fault:
      raise ValueError(f"{name} in {layout} does not run even without kills: {fault}")
    found, whole = outcome(str(folder / left_alone)), time.monotonic() - begun
    if expected and found != expected:
      raise ValueError(f"{name} in {layout} is not reproducible even without kills.")
    expected = found
  missing = share - _hits(kept, name, layout)
  number = sum(_belongs(one, name, layout) for one in kept["trials"])
  while missing > 0:
    chance = random.Random(f"{_MOMENTS.value} {name} {layout} {number}")
    kills = [_moment(chance, whole, layout) for _ in range(min(_KILLS_PER_RUN.value, missing))]
    workdir = f"{_BUCKET.value}/{name}_{layout}_{number}" if _BUCKET.value else str(folder / str(number))
    hits, fault = trial(settings, layout, workdir, folder / f"{number}.log", kills)
    found = {} if fault else outcome(workdir)
    others = [part for part in expected if found.get(part) != expected[part]]
    said = f"lost: {fault}" if fault else f"differs in {', '.join(others)}" if others else "the same"
    if said != "the same":
      print(f"{name} in {layout}, run {number}: {said}", flush=True)
    yield {"recipe": name, "layout": str(layout), "signals": [hit.signal for hit in hits],
           "torn_saves": sum(hit.torn for hit in hits), "outcome": said}
    missing, number = missing - len(hits), number + 1


def _moment(chance: random.Random, whole: float, layout: Layout) -> Kill:
  number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
  in_save = chance.random() < 0.4
  return Kill(number, chance.uniform(0, 0.03) if in_save else chance.uniform(0, whole), in_save,
              chance.randrange(layout.processes), chance.uniform(0, 1))


def _layout(words: str) -> Layout:
  if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", words):
    raise ValueError(f"--layouts={words} must be numbers of processes and of devices per process, such as 1x8 or 2x1.")
  return Layout(*map(int, words.split("x")))


def _read(path: Path) -> dict[str, Any]:
  """Returns the record so far, or an empty one."""
  about = about_now("python -m launch.faults")
  if not path.exists():
    return {**about, "trials": []}
  try:
    kept = json.loads(path.read_text(encoding="utf-8"))
    others = [field for field, value in about.items() if kept[field] != value]
    kept["trials"] = [one for one in kept["trials"] if _num_kills(one) >= 0 and one["outcome"]]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} is not a record of kills ({error!r}); name another file with --record.") from error
  if others:
    raise ValueError(f"{path} was started with another {' and '.join(others)}, so new kills cannot be added to it; "
                     "remove it, or name another file with --record.")
  return kept


def _hits(kept: dict[str, Any], name: str, layout: Layout) -> int:
  return sum(_num_kills(one) for one in kept["trials"] if _belongs(one, name, layout))


def _num_kills(one: dict[str, Any]) -> int:
  return len(one["signals"])


def _belongs(one: dict[str, Any], name: str, layout: Layout) -> bool:
  return (one["recipe"], one["layout"]) == (name, str(layout))


@contextlib.contextmanager
def _leaving_on_sigterm() -> Iterator[None]:
  """Within this context, SIGTERM ends the process with its usual cleanup of child processes and temporary files."""
  before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
  command_line.run(main)
