"""The fastest settings of each recipe on this machine: written by benchmarks.autotune, read by --tuned."""

import json
import os
from pathlib import Path
from typing import Any, Mapping

import jax

from launch import find
from metajax.data.download import cache_dir


def machine() -> str:
  """Returns the kind and number of this machine's devices, which settings are stored under."""
  devices = jax.devices()
  return f"{len(devices)} {devices[0].device_kind}, {os.cpu_count()} cores"


def remember(recipe: str, settings: Mapping[str, Any]) -> Path:
  """Stores the settings of a recipe for this machine; returns the path of the file."""
  path = _path()
  path.parent.mkdir(parents=True, exist_ok=True)
  known = _read()
  known.setdefault(machine(), {})[recipe] = dict(settings)
  partial = path.with_name(path.name + ".partial")
  partial.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
  partial.replace(path)
  return path


def apply(recipe: str, config: Any) -> list[str]:
  """Sets the fields of a config to the settings found for its recipe on this machine; returns them as flags.

  Raises:
    ValueError: if there are no settings for it yet, or the file is damaged.
  """
  known = _read().get(machine(), {})
  settings = next((known[name] for name in (recipe, *known) if name in known and find.same(name, recipe)), None)
  if settings is None:
    raise ValueError(f"there are no tuned settings of {recipe} on this machine ({machine()}); first run python -m "
                     f"benchmarks.autotune --config={recipe}.")
  for name, value in settings.items():
    *groups, field = name.split(".")
    holder = config
    for group in groups:
      holder = getattr(holder, group)
    setattr(holder, field, value)
  return [f"--config.{name}={value}" for name, value in settings.items()]


def _read() -> dict[str, Any]:
  path = _path()
  try:
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {machine: dict(recipes) for machine, recipes in known.items()}
  except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
    raise ValueError(f"{path} is damaged ({error}); remove it, and run benchmarks.autotune again.") from error


def _path() -> Path:
  return cache_dir() / "tuned.json"
