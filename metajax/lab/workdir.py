"""A workdir belongs to one run: it stores the run's recipe and config, and refuses any other.

It also stores the provenance of the run: a change of the data is refused like a change of the config; a change of
versions, commit or machine is only reported.
"""

import json
import os
from pathlib import Path
import re
from typing import IO, Any, Callable, Mapping

import numpy as np

from metajax.checks import check_name

_FILE = "run.json"
_PARTIAL = _FILE + ".partial"


def claim(workdir: Path | str, recipe: str, config: Mapping[str, Any], about: Mapping[str, Any] | None = None,
          say: Callable[[str], Any] = print, *, defaults: Mapping[str, Any] | None = None,
          may_lengthen: bool = False) -> Path:
  """Claims the workdir for this run, or checks that it already belongs to it; returns it.

  Args:
    workdir: a folder, created if necessary.
    recipe: the path of the recipe.
    config: its settings, as nested mappings of numbers, strings, booleans, lists and None.
    about: the provenance of the run, of the same form; its `data`, if present, must not change.
    say: called with a message if anything else in it has changed; the run then continues.
    defaults: values of settings that are absent in a run of an older version.
    may_lengthen: whether a run may be continued to more steps than it was begun with (`training.steps`).

  Raises:
    ValueError: if the folder belongs to a run with another recipe, other settings or other data (each is named), if it
      holds files but no run, if it is a bucket, or if it cannot be written. The folder is not changed.
  """
  workdir = Path(workdir)
  if re.match(r"\w{2,}:", str(workdir)):
    raise ValueError(f"workdir {workdir} is not a folder; one in a bucket is <kind>://<bucket>/<folder>, as text.")
  check_name("workdir", str(workdir))
  wanted = json.loads(json.dumps({"recipe": recipe, "config": config, "about": about or {}}))
  try:
    if (workdir / _FILE).exists():
      before = _load(workdir)
      before["config"] = _with_defaults(before["config"], json.loads(json.dumps(defaults or {})))
      longer = may_lengthen and _is_longer(before["config"], wanted["config"])
      about_before, training = before["about"], before["config"].get("training")
      if longer:
        before["config"]["training"] = {**training, "steps": wanted["config"]["training"]["steps"]}
      _check_same(workdir, before, wanted, say)
      if longer:
        say(_said_of_more_steps(training, wanted["config"]["training"]))
        content = {"recipe": recipe, "config": wanted["config"], "about": about_before}
        write_text(workdir / _FILE, json.dumps(content, indent=2) + "\n")
      return workdir
    if workdir.exists() and not workdir.is_dir():
      raise ValueError(f"workdir {workdir} is a file; name a folder.")
    # A partial file was left by an interrupted claim; there was no run yet.
    if workdir.is_dir() and any(path.name != _PARTIAL for path in workdir.iterdir()):
      raise ValueError(f"workdir {workdir} holds files but no run ({_FILE} is missing); name a new or an empty folder.")
    workdir.mkdir(parents=True, exist_ok=True)
    write_text(workdir / _FILE, json.dumps(wanted, indent=2) + "\n")
  except OSError as error:
    raise ValueError(f"workdir {workdir} cannot be written ({error.strerror}); name another.") from error
  return workdir


def read(workdir: Path | str) -> dict[str, Any]:
  """Returns `{"recipe": ..., "config": ...}` of the run in a workdir.

  Raises:
    ValueError: if there is no run, or `run.json` is damaged.
  """
  run = _load(Path(workdir))
  return {"recipe": run["recipe"], "config": run["config"]}


def data_changed(workdir: Path | str, now: str) -> str:
  """Returns a sentence if the run was begun on other data than those with the digest `now`, otherwise ''.

  Classes that it was trained on may then be classes of the test. Errors as in `read`.
  """
  was = _load(Path(workdir))["about"].get("data", now)
  return "" if was == now else (
      f"the data of workdir {workdir} have changed: their digest was {was} and is now {now}, so that classes of the "
      "training may now be classes of the test; give it the data it was trained on, or train again.")


def write_text(path: Path, text: str) -> None:
  """Writes a text file atomically: on failure, the previous file is kept."""
  _replace(path, lambda file: file.write(text.encode("utf-8")))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
  """Writes an `.npz` file atomically: on failure, the previous file is kept."""
  named: dict[str, Any] = dict(arrays)
  _replace(path, lambda file: (np.savez_compressed if compressed else np.savez)(file, **named))


def _replace(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
  partial = path.with_name(path.name + ".partial")
  with open(partial, "wb") as file:
    write(file)
    file.flush()
    os.fsync(file.fileno())
  partial.replace(path)


def _load(workdir: Path) -> dict[str, Any]:
  path = workdir / _FILE
  if not path.exists():
    raise ValueError(f"workdir {workdir} holds no run: {_FILE} is missing. Train one first, or name another workdir.")
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    return {"recipe": content["recipe"], "config": dict(content["config"]), "about": dict(content.get("about", {}))}
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise ValueError(f"{path} is damaged ({error}); restore it, or name another workdir.") from error


def _check_same(workdir: Path, old: dict[str, Any], new: dict[str, Any], say: Callable[[str], Any]) -> None:
  before, now = old.pop("about"), new.pop("about")
  changed = _differences({name: value for name, value in before.items() if name in now},
                         {name: value for name, value in now.items() if name in before})
  data = [difference for difference in changed if difference.startswith("data")]
  differences = _differences(old, new) + data
  if differences:
    raise ValueError(f"workdir {workdir} belongs to another run: {'; '.join(differences)}. Give the same settings to "
                     f"resume it, or name another workdir; --fork={workdir} continues from it there.")
  others = [difference for difference in changed if difference not in data]
  if others:
    say("Resuming in an environment that has changed, so results may not be identical bit for bit: "
        f"{'; '.join(others)}.")


def _with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
  """Returns settings with those that are absent added; groups are completed field by field."""
  filled = {name: _with_defaults(value, defaults[name]) if isinstance(value, Mapping) and isinstance(
      defaults.get(name), Mapping) else value for name, value in config.items()}
  return filled | {name: value for name, value in defaults.items() if name not in config}


def _is_longer(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
  steps = [config.get("training", {}).get("steps") for config in (old, new)]
  return all(isinstance(number, int) for number in steps) and steps[1] > steps[0]


def _said_of_more_steps(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
  steps = f"Continuing to {new['steps']} steps instead of {old['steps']}"
  if new.get("schedule", "constant") == "constant":
    return f"{steps}, with the result of a run of {new['steps']} steps."
  return (f"{steps}: the {new['schedule']} schedule depends on the number of steps, so the learning rate continues on "
          f"that of {new['steps']} steps, and the result differs from that of a run of {new['steps']} steps from the "
          "start.")


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
  found = []
  for name in sorted(set(old) | set(new)):
    before, after = old.get(name), new.get(name)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
      found += _differences(before, after, f"{prefix}{name}.")
    elif before != after or (name in old) != (name in new):
      was, now = (repr(values[name]) if name in values else "absent" for values in (old, new))
      found.append(f"{prefix}{name} was {was} and is now {now}")
  return found
