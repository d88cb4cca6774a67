"""Writes docs/notebooks/*.ipynb with their outputs, from their texts.

  python -m benchmarks.notebooks                  all, some minutes on two cores
  python -m benchmarks.notebooks --only=conml     one of them

Each is run from an empty folder, on CPU. It is an error if a cell fails, or says something on standard error.
"""

import os
from pathlib import Path
import tempfile
import time

from absl import app, flags
import jupytext
from nbclient import NotebookClient
import nbformat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"

_ONLY = flags.DEFINE_list("only", [], "the names of notebooks; by default all")


def executed(text: Path, folder: Path, environment: dict[str, str], timeout: int = 1200) -> nbformat.NotebookNode:
  """Returns a notebook with its outputs.

  Args:
    text: its text, in jupytext's percent format.
    folder: where it is run.
    environment: of its process.
    timeout: seconds that a cell may take.

  Raises:
    nbclient.exceptions.CellExecutionError: if a cell fails.
    RuntimeError: if a cell writes to standard error.
  """
  notebook = jupytext.read(text)
  NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
                 ).execute(env=environment)
  for place, cell in enumerate(notebook.cells):
    cell.id = f"cell-{place}"  # not a random one, so that a difference in git is a difference
    cell.metadata.pop("execution", None)  # times
    if said := [output.text for output in cell.get("outputs", ()) if output.get("name") == "stderr"]:
      raise RuntimeError(f"cell {place} of {text.name} writes to standard error: {''.join(said)}")
  notebook.metadata.pop("jupytext", None)
  return notebook


def main(_: list[str]) -> None:
  texts = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
  if unknown := [name for name in _ONLY.value if name not in texts]:
    raise app.UsageError(f"there is no notebook {', '.join(unknown)}; choose from {', '.join(texts)}.")
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
                 "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
  environment.pop("METAJAX_SHORT", None)
  for name in _ONLY.value or texts:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
      notebook = executed(texts[name], Path(folder), environment)
    path = FOLDER / f"{name}.ipynb"
    nbformat.write(notebook, path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1024:.0f} KiB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
  app.run(main)
