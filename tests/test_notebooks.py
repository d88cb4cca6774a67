"""Shortened notebooks run from top to bottom, and each `.ipynb` matches its text and has the outputs of a full run."""

import os
import pathlib
import re
import warnings

import pytest

with warnings.catch_warnings():
  warnings.simplefilter("ignore")  # warnings of jupyter
  import jupytext
  from nbclient import NotebookClient
  import nbformat

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def cells(notebook):
  return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_text_and_begins_as_it_should(name):
  notebook = jupytext.read(FOLDER / f"{name}.py")
  kept = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
  assert cells(kept) == cells(notebook), f"run: python -m benchmarks.notebooks --only={name}"
  assert notebook.cells[0].source.startswith("# ") and f"/docs/notebooks/{name}.ipynb)" in notebook.cells[0].source
  assert "pip" in next(cell.source for cell in notebook.cells if cell.cell_type == "code")
  assert f"({name}.py)" in (FOLDER / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_with_its_outputs(name):
  code = [cell for cell in nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells if cell.cell_type == "code"]
  assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
  outputs = [output for cell in code for output in cell.outputs]
  assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
  assert not any(output.get("name") == "stderr" for output in outputs)
  assert any("image/png" in output.get("data", {}) for output in outputs)
  assert (FOLDER / f"{name}.ipynb").stat().st_size < 300_000
  said = "".join(output.get("text", "") for output in outputs)
  for share in re.findall(r"from ([\d.]+) to ([\d.]+) %", (FOLDER / f"{name}.py").read_text(encoding="utf-8")):
    for percent in share:
      assert f"{float(percent) / 100:.3f}" in [f"{float(found):.3f}" for found in re.findall(r"0\.\d+", said)]


@pytest.mark.filterwarnings("ignore")  # warnings of jupyter; the notebook's own are in another process
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, tmp_path):
  assert len(NAMES) == 5
  notebook = jupytext.read(FOLDER / f"{name}.py")
  environment = {**os.environ, "METAJAX_SHORT": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "",
                 "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # programs run only a few times
                 "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
  client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
  client.execute(env=environment)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  shown = [output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})]
  assert shown, "a notebook without a figure"
  complaints = [output.text for cell in code for output in cell.outputs if output.get("name") == "stderr"]
  assert not complaints
