"""Real processes, killed at random moments and restarted, against an uninterrupted one."""

import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

import pytest

from launch import faults, kills

_ROOT = Path(__file__).parents[2]


def _run(tmp_path, *arguments):
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
                 "METAJAX_CACHE_DIR": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
                 "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
  return subprocess.run([sys.executable, "-m", "launch.faults", f"--record={tmp_path / 'record.json'}", *arguments],
                        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=280)


def test_no_run_is_lost(tmp_path):
  done = _run(tmp_path, "--kills=3", "--kills_per_run=3", "--recipes=sinusoid", "--layouts=1x2")
  assert done.returncode == 0, done.stdout + done.stderr
  kept = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
  assert sum(len(one["signals"]) for one in kept["trials"]) == 3
  assert {one["outcome"] for one in kept["trials"]} == {"the same"}
  counted = rf"3 kills in {len(kept['trials'])} runs: 0 runs lost, 0 runs with a differing bit\.\n$"
  assert re.search(counted, done.stdout), done.stdout
  # Finished trials are not repeated.
  again = _run(tmp_path, "--kills=3", "--recipes=sinusoid", "--layouts=1x2")
  assert again.returncode == 0 and re.search(counted, again.stdout), again.stdout + again.stderr


@pytest.mark.bad_input
@pytest.mark.parametrize("words", ["8", "0x1", "1x", "x", "1x2x3", "-1x1", ""])
def test_a_layout_that_is_none(words):
  with pytest.raises(ValueError, match=f"--layouts={words} must be numbers of processes and of devices"):
    faults._layout(words)


@pytest.mark.bad_input
@pytest.mark.parametrize("record, sentence", [
    ("{", "is not a record of kills"), ("[]", "is not a record of kills"), ("{}", "is not a record of kills"),
    ('{"command": "x", "machine": "y", "versions": {}, "trials": []}', "another command and machine and versions")])
def test_what_is_no_record_is_not_added_to(tmp_path, record, sentence):
  (tmp_path / "record.json").write_text(record)
  with pytest.raises(ValueError, match=sentence):
    faults._read(tmp_path / "record.json")


@pytest.mark.parametrize("codes, number, hits, fault", [
    ([0], None, [], ""), ([3], None, [], "exit codes [3] before None: its last words"),
    ([None], signal.SIGKILL, ["SIGKILL"], "it did not end within 1 s"),
    ([None], signal.SIGTERM, ["SIGTERM"], "it did not end within 1 s"),
    ([None, None], signal.SIGKILL, ["SIGKILL"], "it did not end within 1 s"),
    ([None, 3], signal.SIGKILL, [], "exit codes [3, -9] before Kill"), ([0, 0], signal.SIGKILL, [], "")])
def test_what_becomes_of_a_run_is_seen(tmp_path, monkeypatch, codes, number, hits, fault):
  """A pod of processes that exit with a code or, without one, sleep."""
  children = []

  def fork(arguments, devices, log):
    code = codes[int(arguments[-1].rsplit(",", 1)[1])] if len(codes) > 1 else codes[0]
    words = "import time; time.sleep(60)" if code is None else f"raise SystemExit({code})"
    children.append(subprocess.Popen([sys.executable, "-S", "-c", words]))
    return children[-1].pid

  monkeypatch.setattr(kills, "_fork", fork)
  monkeypatch.setattr(kills, "_TIMEOUT", 1.0)
  (tmp_path / "run.log").write_text("its last words")
  kill = [kills.Kill(number, 0.3, False, len(codes) - 1, 0.1)] if number else []
  found, said = kills.trial([], kills.Layout(len(codes), 1), str(tmp_path / "run"), tmp_path / "run.log", kill)
  assert [hit.signal for hit in found] == hits and said.startswith(fault) and bool(said) == bool(fault)
  assert all(child.poll() is not None for child in children)
