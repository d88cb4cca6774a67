"""Kills runs at random moments, starts them again, and compares what comes out, bit by bit, with a run left alone.

  python -m launch.faults                      100 kills; the count and the outcome are printed
  python -m launch.faults --kills=8 --recipes=sinusoid --devices=1

Two kills in three are SIGKILL, at any moment of the run, from its start-up to its last picture, or in the middle of a
save; the third is SIGTERM, after which the run must leave with 75, or, before it has begun to train, be killed.
Every run is killed and started until one of its processes comes to its end, after at most `--kills_per_run`. Compared
are the digest of the final state (parameters, optimizer, step), metrics.csv, test.json and every test episode. Exit
code 1 if anything differs.
"""

import json
import os
from pathlib import Path
import random
import runpy
import signal
import sys
import tempfile
import time
import traceback
from types import MappingProxyType
from typing import NamedTuple, Sequence

from absl import flags
import jax

# Imported here, once, for all the processes that are killed.
import experiments.quickstart
import experiments.sinusoid  # noqa: F401
from launch import command_line
import metajax.forks  # noqa: F401
from metajax.preemption import REQUEUE
import metajax.provenance  # noqa: F401

_KILLS = flags.DEFINE_integer("kills", 100, "how many, over all recipes and numbers of devices", lower_bound=1)
_KILLS_PER_RUN = flags.DEFINE_integer("kills_per_run", 5, "after so many a run is left to end", lower_bound=1)
_DEVICES = flags.DEFINE_list("devices", ["1", "8"], "numbers of (pretended) devices")
_RECIPES = flags.DEFINE_list("recipes", ["sinusoid", "quickstart"], "sinusoid is MAML, quickstart ProtoNet")
_MOMENTS = flags.DEFINE_integer("moments", 0, "the seed of the moments")

_SHORT = ("--config.training.steps=24", "--config.training.steps_per_row=4", "--config.training.rows_per_checkpoint=1",
          "--config.training.steps_per_dispatch=2", "--config.training.tasks_per_step=8", "--config.test.episodes=8",
          "--config.test.val_episodes=4")
_SETTINGS = MappingProxyType({
    "sinusoid": ("--config=experiments/sinusoid.py:maml", "--config.hidden=(4,)", *_SHORT),
    "quickstart": ("--config=experiments/quickstart.py", "--config.data=glyphs", "--config.filters=4", *_SHORT,
                   "--config.training.steps_per_dispatch=1")})


class Kill(NamedTuple):
  """When and how to end a process."""
  number: int  # of the signal
  delay: float  # seconds, after the start or after a save was seen to begin
  in_save: bool


def start(arguments: Sequence[str], devices: int, log: Path) -> int:
  """Starts `python -m launch.train <arguments>` in a fork of this process; returns its id."""
  child = os.fork()
  if child:
    return child
  code = 1
  try:
    for number in (1, 2):
      os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # to be at the moments that matter sooner
    sys.argv = ["launch.train", *arguments]
    runpy.run_module("launch.train", run_name="__main__", alter_sys=True)
    code = 0
  except SystemExit as leaving:
    code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def outcome(workdir: Path) -> dict[str, bytes]:
  """Returns what must be equal: the digest of the last state, the metrics, the test results."""
  last = max((int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()))
  about = next((workdir / "checkpoints" / str(last) / "about").iterdir())
  kept = {name: (workdir / name).read_bytes() for name in ("metrics.csv", "test.json", "test_episodes.npz")}
  return {**kept, "state": json.loads(about.read_text())["digest"].encode()}


def end(child: int, kill: Kill, workdir: Path) -> int:
  """Kills a process at its moment, if it has not ended; returns its exit code, negative for a signal."""
  begun, saving = time.monotonic(), not kill.in_save
  while True:
    saving = saving or any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    if saving and time.monotonic() - begun >= kill.delay:
      os.kill(child, kill.number)
      return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    begun = begun if saving else time.monotonic()
    time.sleep(0.001)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
      return os.waitstatus_to_exitcode(status)


def trial(arguments: Sequence[str], devices: int, workdir: Path, kills: Sequence[Kill]) -> tuple[int, str]:
  """Runs a command, killing it so often; returns how often it was hit, and what is wrong with that, if anything."""
  hits, log = 0, workdir.with_suffix(".log")
  command = [*arguments, f"--workdir={workdir}"]
  for kill in kills:
    code = end(start(command, devices, log), kill, workdir)
    if code == 0:
      return hits, ""
    hits += 1
    # SIGTERM before training begins ends a process as it ends any other.
    if code not in ((-kill.number,) if kill.number == signal.SIGKILL else (-kill.number, REQUEUE)):
      return hits, f"exit code {code} after signal {kill.number}: {log.read_text()[-1000:]}"
  code = os.waitstatus_to_exitcode(os.waitpid(start(command, devices, log), 0)[1])
  return hits, f"exit code {code}: {log.read_text()[-1000:]}" if code else ""


def main(_: list[str]) -> None:
  for name in _RECIPES.value:
    if name not in _SETTINGS:
      raise ValueError(f"--recipes={name} is not known; choose of {', '.join(_SETTINGS)}.")
  if not all(count.isdigit() and int(count) for count in _DEVICES.value):
    raise ValueError(f"--devices={','.join(_DEVICES.value)} must be numbers, such as 1,8.")
  chance, total, lost, differing, runs = random.Random(_MOMENTS.value), 0, 0, 0, 0
  cases = [(name, int(count)) for name in _RECIPES.value for count in _DEVICES.value]
  for place, (name, devices) in enumerate(cases):
    share, hits, ended = _KILLS.value * (place + 1) // len(cases) - _KILLS.value * place // len(cases), 0, 0
    with tempfile.TemporaryDirectory() as folder:
      reference = Path(folder) / "alone"
      fault = trial(_SETTINGS[name], devices, reference, [])[1]  # compiles
      if fault:
        raise ValueError(f"{name} does not run even when it is left alone: {fault}")
      expected, begun = outcome(reference), time.monotonic()
      trial(_SETTINGS[name], devices, Path(folder) / "timed", [])
      whole = time.monotonic() - begun
      while hits < share:
        workdir = Path(folder) / str(ended)
        kills = [_moment(chance, whole) for _ in range(min(_KILLS_PER_RUN.value, share - hits))]
        hit, fault = trial(_SETTINGS[name], devices, workdir, kills)
        hits, ended = hits + hit, ended + 1
        if fault:
          lost += 1
          print(f"{name} on {devices} device(s), run {ended}: LOST, {fault}")
          continue
        found = outcome(workdir)
        others = [part for part in expected if found[part] != expected[part]]
        if others:
          differing += 1
          print(f"{name} on {devices} device(s), run {ended}: DIFFERS in {', '.join(others)}")
    print(f"{name} on {devices} device(s): {hits} kills in {ended} runs of {whole:.1f} s.", flush=True)
    total, runs = total + hits, runs + ended
  print(f"{total} kills in {runs} runs: {lost} runs lost, {differing} runs with a differing bit.")
  raise SystemExit(int(bool(lost or differing)))


def _moment(chance: random.Random, whole: float) -> Kill:
  number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
  in_save = chance.random() < 0.4
  return Kill(number, chance.uniform(0, 0.06) if in_save else chance.uniform(0, whole), in_save)


if __name__ == "__main__":
  command_line.run(main)
