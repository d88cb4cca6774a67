"""Real processes, killed at random moments and started again, against one that was left alone."""

import os
from pathlib import Path
import re
import subprocess
import sys

_ROOT = Path(__file__).parents[2]


def _run(tmp_path, *arguments):
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
                 "METAJAX_CACHE_DIR": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
                 "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
  return subprocess.run([sys.executable, "-m", "launch.faults", *arguments], capture_output=True, text=True, cwd=_ROOT,
                        env=environment, timeout=280)


def test_no_run_is_lost(tmp_path):
  done = _run(tmp_path, "--kills=3", "--kills_per_run=3", "--recipes=sinusoid", "--devices=2")
  assert done.returncode == 0, done.stdout + done.stderr
  assert re.search(r"\d+ kills in \d+ runs: 0 runs lost, 0 runs with a differing bit\.\n$", done.stdout), done.stdout


def test_what_it_refuses(tmp_path):
  done = _run(tmp_path, "--recipes=maml", "--devices=none")
  assert done.returncode == 2 and done.stderr == "error: --recipes=maml is not known; choose of sinusoid, quickstart.\n"
