"""Parses arms and sweeps from the command line: `none,in,out,both`, or `config.<field>=<value>,<value>`."""

import ast
import dataclasses
import re
from typing import Any, Mapping

from launch.fields import check_setting, from_mapping

_NAMED: Mapping[str, Mapping[str, Any]] = {
    "none": {"conml": False}, "both": {"conml": True},
    "in": {"conml": True, "contrast": {"align": True, "discriminate": False}},
    "out": {"conml": True, "contrast": {"align": False, "discriminate": True}}}


def parse(config: Any, text: str) -> dict[str, Any]:
  """Returns the config of each arm, by name, in the order typed.

  Args:
    config: the recipe's settings.
    text: names of arms, then fields with their values. An item without a field is another value of the field before it.

  Raises:
    ValueError: if an arm is unknown, does not apply to the recipe, or is given twice.
  """
  arms: dict[str, Any] = {}
  field = ""
  for item in _split(text):
    if item.startswith("config.") and "=" in item:
      field, _, value = item.removeprefix("config.").partition("=")
      name = f"{field}={value}"
    elif field:
      value, name = item, f"{field}={item}"
    else:
      value, name = "", item
    if name in arms:
      raise ValueError(f"arm {name} appears twice in --arms={text}; give it once.")
    arms[name] = _with(config, field, value) if field else _named(config, item)
  return arms


def parse_sweeps(config: Any, text: str) -> dict[str, tuple[Any, ...]]:
  """Returns the values of each field in `config.<field>=<value>,<value>,config.<field>=...`; empty for empty text.

  Raises:
    ValueError: if a field is unknown, or a value is not of its type.
  """
  sweeps: dict[str, tuple[Any, ...]] = {}
  field = ""
  for item in _split(text) if text else []:
    if item.startswith("config.") and "=" in item:
      field, _, item = item.removeprefix("config.").partition("=")
    if not field:
      raise ValueError(f"--sweeps={text} is not understood; give config.<field>=<value>,<value>.")
    sweeps[field] = (*sweeps.get(field, ()), value_of(config, field, item))
  return sweeps


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
  """Returns the config with changed fields, such as `test.episodes`."""
  for field, value in changes.items():
    config = from_mapping(config, _nested(field, value))
  return config


def value_of(config: Any, field: str, text: str) -> Any:
  """Returns a value, parsed from text to the type of its field.

  Raises:
    ValueError: if there is no such field, or the value is not of its type.
  """
  check_setting(config, field, text)
  default = config
  for name in field.split("."):
    default = getattr(default, name)
  if isinstance(default, bool):
    return text.lower() in ("true", "1")
  if isinstance(default, tuple):
    parts = ast.literal_eval(text)
    return parts if isinstance(parts, tuple) else (parts,)
  return text if default is None else type(default)(text)


def _with(config: Any, field: str, value: str) -> Any:
  if field == "seed" or field.startswith("test."):
    raise ValueError(f"config.{field} cannot define arms, because all arms share their seeds and test episodes; "
                     "use another field.")
  return changed(config, {field: value_of(config, field, value)})


def _named(config: Any, name: str) -> Any:
  if name not in _NAMED:
    raise ValueError(f"arm {name!r} is not known; give one of {', '.join(_NAMED)}, or values of a field such as "
                     "config.contrast.weight=0,0.1.")
  try:
    arm = from_mapping(config, _NAMED[name])
  except ValueError as error:
    raise ValueError(f"arm {name} does not apply to this recipe: {error}") from None
  return arm if name != "both" or not hasattr(arm, "contrast") else dataclasses.replace(
      arm, contrast=dataclasses.replace(arm.contrast, align=True, discriminate=True))


def _nested(field: str, value: Any) -> dict[str, Any]:
  head, _, rest = field.partition(".")
  return {head: _nested(rest, value) if rest else value}


def _split(text: str) -> list[str]:
  """Returns the items between commas outside of brackets.

  Raises:
    ValueError: if an item is empty.
  """
  items = [item.strip() for item in re.split(r",(?![^(\[]*[)\]])", text)]
  if not all(items):
    raise ValueError(f"{text!r} has an empty item; separate arms or values by single commas.")
  return items
