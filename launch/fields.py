"""Checks settings from the command line against the dataclass of a recipe, with one-sentence error messages."""

import ast
import dataclasses
import difflib
from types import MappingProxyType
from typing import Any, Iterator, Mapping, Sequence

# Other names of fields, as papers and other libraries have them.
_SYNONYMS: Mapping[str, str] = MappingProxyType({
    "meta_batch": "training.tasks_per_step", "meta_batch_size": "training.tasks_per_step",
    "batch_size": "training.tasks_per_step", "batch": "training.tasks_per_step", "tasks": "training.tasks_per_step",
    "lr": "training.learning_rate", "meta_lr": "training.learning_rate", "outer_lr": "training.learning_rate",
    "step": "training.steps", "iterations": "training.steps", "num_steps": "training.steps",
    "epochs": "training.steps", "inner_lr": "inner_rate", "update_lr": "inner_rate", "alpha": "inner_rate",
    "num_inner_steps": "inner_steps", "adaptation_steps": "inner_steps", "n_way": "ways", "way": "ways",
    "num_classes": "ways", "k_shot": "shots", "shot": "shots", "k": "shots", "lambda": "contrast.weight",
    "lambda_": "contrast.weight", "phi": "contrast.distance", "clip": "training.clip_gradient",
    "grad_clip": "training.clip_gradient", "dataset": "data", "width": "filters", "wd": "training.weight_decay",
    "momentum": "training.optimizer", "eval_episodes": "test.episodes", "early_stopping": "training.patience"})


def check_setting(config: Any, field: str, value: str | None) -> None:
  """Raises ValueError unless the typed `value` (None if missing) is valid for a field such as `test.seed`."""
  holder = config
  for name in field.split("."):
    if not dataclasses.is_dataclass(holder) or name not in _fields(holder):
      raise ValueError(_unknown(field, config))
    holder = getattr(holder, name)
  if dataclasses.is_dataclass(holder):
    raise ValueError(f"config.{field} is a group; set one of its fields: "
                     f"{', '.join(f'config.{field}.{name}' for name in _fields(holder))}.")
  if value is None:
    # absl would take the next argument as the value or, for a boolean, ignore it.
    raise ValueError(f"config.{field} needs a value: --config.{field}=<{_type_name(holder)}>.")
  if not _reads_as(value, holder):
    raise ValueError(f"config.{field}={value!r} is not of type {_type_name(holder)}; its default is {holder!r}.")


def from_mapping(config: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
  """Returns the dataclass `config` with its fields, also nested ones, set to `values`; `prefix` is for messages.

  Raises:
    ValueError: if there is no such field, or a value is not of its type.
  """
  changes = {}
  for name, value in values.items():
    if name not in _fields(config):
      raise ValueError(_unknown(name, config, prefix))
    old = getattr(config, name)
    if not _can_be(value, old):
      raise ValueError(f"config.{prefix}{name}={value!r} is not of type {_type_name(old)}; its default is {old!r}.")
    changes[name] = (from_mapping(old, value, f"{prefix}{name}.") if dataclasses.is_dataclass(old)
                     else tuple(value) if isinstance(old, tuple) else value)
  return dataclasses.replace(config, **changes)


def _can_be(value: Any, default: Any) -> bool:
  """Returns whether a JSON value is valid for a field; all entries of a tuple have the type of the default's first."""
  if dataclasses.is_dataclass(default):
    return isinstance(value, Mapping)
  if isinstance(default, tuple):
    return isinstance(value, (list, tuple)) and all(_can_be(part, default[0]) for part in value if default)
  if isinstance(default, float):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  return default is None or type(value) is type(default)


def _reads_as(value: str, default: Any) -> bool:
  if isinstance(default, bool):
    return value.lower() in ("true", "false", "1", "0")
  try:
    if isinstance(default, tuple):
      parts = ast.literal_eval(value)
      parts = parts if isinstance(parts, tuple) else [parts]  # a list is read as a tuple of one list
      return all(type(part) is type(default[0]) for part in parts) if default else True
    if isinstance(default, int):
      return -2**31 <= int(value) < 2**31  # larger values are not valid seeds or counts
    return isinstance(default, str) or default is None or type(default)(value) is not None
  except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # the last two for thousands of parentheses
    return False


def _type_name(default: Any) -> str:
  if isinstance(default, tuple) and default:
    return f"tuple of {type(default[0]).__name__}"
  return type(default).__name__


def _unknown(field: str, config: Any, prefix: str = "") -> str:
  names = list(_names(config))
  close = _close(field, names)
  hint = " or ".join(f"config.{prefix}{name}" for name in close)
  hint = f"did you mean {hint}?" if close else f"there are {', '.join(prefix + name for name in names)}."
  return f"config.{prefix}{field} is not a field of this recipe; {hint}"


def _close(field: str, names: Sequence[str]) -> list[str]:
  """Returns the fields that may be meant: by another name, by the last part of the name, or by similar letters."""
  last = field.rpartition(".")[2].lower()
  named = [name for name in names if name == _SYNONYMS.get(last)]
  by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
  similar = [by_last[each] for each in difflib.get_close_matches(last, by_last, n=3, cutoff=0.75)]
  similar += difflib.get_close_matches(field, names, n=3, cutoff=0.5)
  return list(dict.fromkeys([*named, *similar]))[:3]


def _names(config: Any, prefix: str = "") -> Iterator[str]:
  for name in _fields(config):
    value = getattr(config, name)
    yield from _names(value, f"{prefix}{name}.") if dataclasses.is_dataclass(value) else [prefix + name]


def _fields(config: Any) -> list[str]:
  return [field.name for field in dataclasses.fields(config)]
