"""What the command lines share: from words to a recipe, and every fault of the user's in one sentence.

A recipe is a file with `get_config() -> a dataclass` and `build(config) -> metajax.recipe.Recipe`.
"""

import dataclasses
import difflib
import importlib.util
from pathlib import Path
import sys
from types import ModuleType
from typing import Any, Callable, Iterator, Mapping, NoReturn, Sequence

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from metajax.data.download import cache_dir
from metajax.recipe import Recipe

_USAGE = 2  # the exit code of a command that was not understood


def run(main: Callable[[list[str]], Any]) -> NoReturn:
  """Runs `main` under absl; a `ValueError` or missing file ends it with one sentence and exit code 2."""

  def guarded(arguments):
    if arguments[1:]:
      fail(f"unexpected argument {arguments[1]!r}; settings are given as --config.<field>=<value>.")
    if not any(argument.startswith("--verbosity") for argument in sys.argv):
      logging.set_verbosity(logging.WARNING)  # Orbax tells thirty lines a save
    try:
      main(arguments)
    except (ValueError, FileNotFoundError) as error:
      fail(str(error))

  app.run(guarded, argv=_checked(sys.argv))
  raise SystemExit(0)


def fail(sentence: str) -> NoReturn:
  """Ends the program with a sentence on standard error and exit code 2."""
  print(f"error: {sentence}", file=sys.stderr)
  raise SystemExit(_USAGE)


def define_config(default: str) -> Callable[[], tuple[Path, Any]]:
  """Defines the flag `--config=<recipe>.py` with `--config.<field>=<value>`; returns a reader of `(path, config)`."""
  flag = config_flags.DEFINE_config_file("config", default, "the recipe, a Python file; its fields can be set by "
                                         "--config.<field>=<value>")
  return lambda: (Path(config_flags.get_config_filename(flags.FLAGS["config"])), flag.value)


def load(path: Path | str) -> ModuleType:
  """Returns the recipe in a file, as a module.

  Raises:
    ValueError: if there is no such file, or it is not a recipe.
  """
  path = Path(path)
  if not path.is_file():
    known = sorted(str(other) for other in path.parent.glob("*.py") if _is_recipe(other))
    raise ValueError(f"recipe {path} does not exist" + (f"; there are {', '.join(known)}." if known else "."))
  if not _is_recipe(path):
    raise ValueError(f"{path} is not a recipe: it must define get_config() and build(config).")
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules.setdefault(path.stem, module)  # dataclasses look their module up
  spec.loader.exec_module(module)
  return module


def build(path: Path | str, config: Any) -> Recipe:
  """Returns the recipe of a file with these settings.

  Raises:
    ValueError: if the settings cannot be.
  """
  return load(path).build(config)


def from_mapping(config: Any, values: Mapping[str, Any]) -> Any:
  """Returns the dataclass `config` with its fields, nested ones too, set to `values`.

  Raises:
    ValueError: if a value has no field.
  """
  changes = {}
  for name, value in values.items():
    if name not in _fields(config):
      raise ValueError(_unknown(name, config))
    old = getattr(config, name)
    changes[name] = (from_mapping(old, value) if dataclasses.is_dataclass(old)
                     else tuple(value) if isinstance(old, tuple) else value)
  return dataclasses.replace(config, **changes)


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache, so that the second run of a command starts at once."""
  jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _checked(argv: Sequence[str]) -> Sequence[str]:
  """Checks `--config...` arguments before absl reads them, whose own complaint about a field is a stack trace."""
  settings = [argument.lstrip("-").partition("=") for argument in argv[1:] if argument.startswith(("--config", "-config"))]
  path = next((value for name, _, value in settings if name == "config"), None)
  defaults = None
  try:
    for name, equals, value in settings:
      if name == "config":
        continue
      if defaults is None:
        defaults = load(path or flags.FLAGS["config"].default).get_config()
      _check_setting(defaults, name.removeprefix("config."), value, bool(equals))
    if path is not None:
      load(path)
  except ValueError as error:
    fail(str(error))
  return argv


def _check_setting(config: Any, field: str, value: str, given: bool) -> None:
  holder = config
  *parents, last = field.split(".")
  for name in [*parents, last]:
    if not dataclasses.is_dataclass(holder) or name not in _fields(holder):
      raise ValueError(_unknown(field, config))
    holder = getattr(holder, name)
  if dataclasses.is_dataclass(holder):
    raise ValueError(f"config.{field} is a group; set one of its fields: "
                     f"{', '.join(f'config.{field}.{name}' for name in _fields(holder))}.")
  if not given:
    raise ValueError(f"config.{field} needs a value: --config.{field}=<{type(holder).__name__}>.")
  if not _reads_as(value, holder):
    raise ValueError(f"config.{field}={value!r} is not of type {type(holder).__name__}; its default is {holder!r}.")


def _reads_as(value: str, default: Any) -> bool:
  if isinstance(default, bool):
    return value.lower() in ("true", "false", "1", "0")
  if isinstance(default, tuple):
    return bool(value)
  try:
    type(default)(value)
  except ValueError:
    return False
  return True


def _unknown(field: str, config: Any) -> str:
  names = list(_names(config))
  close = difflib.get_close_matches(field, names, n=3, cutoff=0.5)
  hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}."
  return f"config.{field} is not a field of this recipe; {hint}"


def _names(config: Any, prefix: str = "") -> Iterator[str]:
  for name in _fields(config):
    value = getattr(config, name)
    yield from _names(value, f"{prefix}{name}.") if dataclasses.is_dataclass(value) else [prefix + name]


def _fields(config: Any) -> list[str]:
  return [field.name for field in dataclasses.fields(config)]


def _is_recipe(path: Path) -> bool:
  text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
  return "def get_config(" in text and "def build(" in text
