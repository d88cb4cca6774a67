"""The report of a run: one self-contained HTML file, including figures, that loads nothing else."""

from importlib import metadata
import json
import os
from pathlib import Path
import platform
from typing import Any, Iterator, Mapping

import jax
import numpy as np

from metajax.lab.reports.page import heading, page, paragraph, picture, table
from metajax.lab.reports.writers import read_csv

FILE = "report.html"
_PACKAGES = ("metajax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write(workdir: str | os.PathLike[str]) -> Path:
  """Writes `report.html` from the other files in a run's workdir, atomically; returns its path.

  It contains the settings (`run.json`, if there is one), the results of every test (`test*.json`), the last measured
  metrics (`metrics.csv`), every figure (`*.png`, the learning curves first), and the environment.

  Raises FileNotFoundError if there are no metrics yet, and ValueError if a file has the wrong format.
  """
  workdir = Path(workdir)
  tests = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(workdir.glob("test*.json"))}
  about = workdir / "run.json"
  run = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
  pictures = sorted(workdir.glob("*.png"), key=lambda path: (path.stem != "curves", path.name))
  text = render(workdir.resolve().name, run, tests, read_csv(workdir / "metrics.csv"),
                {path.stem: path.read_bytes() for path in pictures}, environment())
  partial = workdir / (FILE + ".tmp")
  partial.write_text(text, encoding="utf-8")
  os.replace(partial, workdir / FILE)
  return workdir / FILE


def render(title: str, run: Mapping[str, Any], tests: Mapping[str, Mapping[str, Any]],
           metrics: Mapping[str, np.ndarray], pictures: Mapping[str, bytes], about: Mapping[str, str]) -> str:
  """Returns the report as HTML.

  title: its heading
  run: `recipe` and `config`, nested; may be empty
  tests: by name, each with `episodes`, `test_seed`, `notes` and `results`, as `lab.run.test` writes them
  metrics: columns [rows], as from `writers.read_csv`
  pictures: PNG files, by caption
  about: the environment
  """
  parts = []
  for name, test in tests.items():
    parts += [
        heading("Test" if name == "test" else f"Test, {name}"),
        paragraph(f'{test["notes"]} {test["episodes"]} episodes, list {test["test_seed"]}{_after(test)}.'),
        table(("measure", "mean", "95 % interval"), [
            (measure, f'{result["mean"]:.4f}', f'± {result["interval_95"]:.4f}')
            for measure, result in test["results"].items()])]
  parts += [picture(content, name.replace("_", " ")) for name, content in pictures.items()]
  parts += [heading("Last measured in training"), table(("metric", "value", "at step"), list(_last(metrics))),
            heading("Settings")]
  if run:
    parts.append(table(("field", "value"), [("recipe", run["recipe"]), *_flat(run["config"], "config.")]))
  else:
    parts.append(paragraph("This run was started from Python, not from a recipe file, and has no record of its "
                           "settings."))
  parts += [heading("Environment"), table(("what", "which"), list(about.items()))]
  return page(f"{title}: a run of metajax", parts, title)


def _after(test: Mapping[str, Any]) -> str:
  changed = [f"config.{name}={value}" for name, value in test.get("settings", {}).items()]
  return (f', parameters of step {test["step"]}' if "step" in test else "") + (
      f', with {" ".join(changed)}' if changed else "")


def environment() -> dict[str, str]:
  """Returns what results may depend on: machine, devices, Python and numerical packages."""
  found = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
           "devices": f"{jax.device_count()} of kind {jax.devices()[0].device_kind}, backend {jax.default_backend()}",
           "python": platform.python_version()}
  for package in _PACKAGES:
    try:
      found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:  # a checkout that is not installed
      continue
  return found


def _last(metrics: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, str]]:
  for name, values in metrics.items():
    measured, = np.nonzero(np.isfinite(values))
    if name != "step" and len(measured):
      yield name, f"{values[measured[-1]]:.4g}", str(metrics["step"][measured[-1]])


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
  for name, value in config.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield prefix + name, str(value)
