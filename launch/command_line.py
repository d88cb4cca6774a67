"""What the command lines share: from words to a recipe, and every fault of the user's in one sentence.

A recipe is a file with `get_config() -> a dataclass` and `build(config) -> metajax.recipe.Recipe`.
"""

import importlib.util
from pathlib import Path
import sys
from types import ModuleType
from typing import Any, Callable, NoReturn, Sequence

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from launch.fields import check_setting
from metajax.checkpoints import Damaged
from metajax.data.download import cache_dir
from metajax.recipe import Recipe, check

_USAGE = 2  # the exit code of a command that was not understood
_FAILED = 1  # and of one that was, and came to grief


def run(main: Callable[[list[str]], Any]) -> NoReturn:
  """Runs `main` under absl; a user's fault (`ValueError`, missing file) ends it with one sentence and exit code 2.

  So do a damaged folder and a diverged training, with exit code 1. `--verbosity=1` shows the stack trace.
  """

  def guarded(arguments):
    if arguments[1:]:
      fail(f"unexpected argument {arguments[1]!r}; settings are given as --config.<field>=<value>.")
    if not any(argument.lstrip("-").startswith("verbosity") for argument in sys.argv[1:]):
      # Orbax tells thirty lines a save. Whether the flag was set cannot be asked of it: a library sets it on import.
      logging.set_verbosity(logging.WARNING)
    try:
      main(arguments)
    except (ValueError, FileNotFoundError, Damaged, FloatingPointError) as error:
      logging.debug("The error comes from here.", exc_info=True)
      fail(str(error), _USAGE if isinstance(error, (ValueError, FileNotFoundError)) else _FAILED)

  app.run(guarded, flags_parser=_parse)
  raise SystemExit(0)


def fail(sentence: str, code: int = _USAGE) -> NoReturn:
  """Ends the program with a sentence on standard error."""
  print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
  raise SystemExit(code)


def define_config(default: str) -> Callable[[], tuple[Path, Any]]:
  """Defines the flag `--config=<recipe>.py` with `--config.<field>=<value>`; returns a reader of `(path, config)`.

  The settings in `sys.argv` are checked first: the complaints of ml_collections, made as it defines the flag, are
  stack traces.
  """
  try:
    _check_settings(sys.argv[1:], default)
  except ValueError as error:
    fail(str(error))
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
  """Returns the recipe of a file with these settings, tried out as far as can be without compiling.

  Raises:
    ValueError: if the settings cannot be.
  """
  recipe = load(path).build(config)
  check(recipe)
  return recipe


def use_compilation_cache() -> None:
  """Keeps compiled programs in the user's cache, so that the second run of a command starts at once."""
  jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    fail(f"{str(error).rstrip('.?')}; --help lists the flags.")


def _check_settings(arguments: Sequence[str], default: str) -> None:
  path, seen = default, ""
  for argument in arguments:
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name == "config":
      if not value:
        raise ValueError("--config needs a value: --config=<recipe>.py.")
      if seen:
        raise ValueError(f"--config must come before its fields, but --{seen} is before it.")
      path = value
    elif argument.startswith("-") and name.removeprefix("no").startswith("config."):
      seen = name
  defaults = load(path).get_config()
  for argument in arguments:
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name.startswith("config."):
      check_setting(defaults, name.removeprefix("config."), value if equals else None)
    elif argument.startswith("-") and name.startswith("noconfig."):
      raise ValueError(f"--{name} is not understood; to switch something off, give --{name[2:]}=False.")


def _is_recipe(path: Path) -> bool:
  text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
  return "def get_config(" in text and "def build(" in text
