"""A workdir belongs to one run: it remembers the run's recipe and config, and refuses any other."""

import json
from pathlib import Path
from typing import Any, Mapping

_FILE = "run.json"
_PARTIAL = _FILE + ".partial"


def claim(workdir: Path | str, recipe: str, config: Mapping[str, Any]) -> Path:
  """Makes the workdir this run's, or checks that it already is; returns it.

  Args:
    workdir: a folder, created if need be.
    recipe: the path of the recipe.
    config: its settings, as nested mappings of numbers, strings, booleans, lists and None.

  Raises:
    ValueError: if the folder belongs to a run with another recipe or other settings (each is named), if it holds
      files but no run, or if it cannot be written. Nothing in it is touched.
  """
  workdir = Path(workdir)
  wanted = json.loads(json.dumps({"recipe": recipe, "config": config}))
  try:
    if (workdir / _FILE).exists():
      differences = _differences(read(workdir), wanted)
      if differences:
        raise ValueError(f"workdir {workdir} belongs to another run: {'; '.join(differences)}. Give the same settings "
                         "to go on with it, or name another workdir.")
      return workdir
    if workdir.exists() and not workdir.is_dir():
      raise ValueError(f"workdir {workdir} is a file; name a folder.")
    # A partial file is what a claim left that was cut short; there was no run yet.
    if workdir.is_dir() and any(path.name != _PARTIAL for path in workdir.iterdir()):
      raise ValueError(f"workdir {workdir} holds files but no run ({_FILE} is missing); name a new or an empty folder.")
    workdir.mkdir(parents=True, exist_ok=True)
    partial = workdir / _PARTIAL
    partial.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    partial.replace(workdir / _FILE)
  except OSError as error:
    raise ValueError(f"workdir {workdir} cannot be written ({error.strerror}); name another.") from error
  return workdir


def read(workdir: Path | str) -> dict[str, Any]:
  """Returns `{"recipe": ..., "config": ...}` of the run in a workdir.

  Raises:
    ValueError: if there is no run, or its file is damaged.
  """
  path = Path(workdir) / _FILE
  if not path.exists():
    raise ValueError(f"workdir {workdir} holds no run: {_FILE} is missing. Train one first, or name another workdir.")
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    return {"recipe": content["recipe"], "config": dict(content["config"])}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} is damaged ({error}); restore it, or name another workdir.") from error


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
