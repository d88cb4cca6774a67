"""Runs many command lines with one start-up: each in a fork of a process that has imported everything.

  python -m tests.launch.forks < cases.json > results.json

A case is `{"module": "launch.train", "arguments": [...], "folder": where to run}`, and its result
`{"code": ..., "out": ..., "err": ..., "files": the folder's contents afterwards, a checksum by name}`. Forks are needed
because absl's flags are global to a process. JAX must not initialise its devices before a fork.
"""

import json
import os
from pathlib import Path
import runpy
import sys
import tempfile
import traceback
import zlib

import experiments.images  # noqa: F401, imported for all forks
import launch.command_line  # noqa: F401


def run(case: dict) -> dict:
  """Returns the result of one case."""
  with tempfile.TemporaryDirectory() as folder:
    out, err = Path(folder) / "out", Path(folder) / "err"
    child = os.fork()
    if child == 0:
      _become(case, out, err)
    _, status = os.waitpid(child, 0)
    files = {str(path.relative_to(case["folder"])): zlib.crc32(path.read_bytes())
             for path in sorted(Path(case["folder"]).rglob("*")) if path.is_file()}
    return {"code": os.waitstatus_to_exitcode(status), "out": out.read_text(), "err": err.read_text(), "files": files}


def _become(case: dict, out: Path, err: Path) -> None:
  """Replaces the standard streams, runs the module, and leaves with its exit code."""
  code = 0
  try:
    for path, number in ((out, 1), (err, 2)):
      os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(case["folder"])
    sys.argv = [case["module"], *case["arguments"]]
    runpy.run_module(case["module"], run_name="__main__", alter_sys=True)
  except SystemExit as leaving:
    code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
  except BaseException:
    traceback.print_exc()
    code = 1
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
  json.dump([run(case) for case in json.load(sys.stdin)], sys.stdout)
