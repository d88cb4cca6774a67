"""Shared by all command lines: parsing of recipes and settings, and one-sentence messages for user errors.

A recipe is a file with `get_config() -> a dataclass` and `build(config) -> metajax.lab.recipe.Recipe`. If `get_config`
takes an argument, it is given after a colon, `<recipe>:<argument>`; each argument gives another recipe. `launch.find`
describes how recipes are named and found.
"""

import inspect
import os
from pathlib import Path
import shutil
import signal
import sys
from typing import Any, Callable, Mapping, NoReturn, Sequence

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from experiments import learner_table
from launch import explain, find, interrupted
from launch.fields import check_setting
from metajax.data.download import cache_dir
from metajax.lab import memory, workdir
from metajax.lab.checkpoints import Damaged, Unsaved
from metajax.lab.preemption import INTERRUPTED
from metajax.lab.recipe import Recipe
from metajax.lab.session import check
from metajax.training import hosts

_HOSTS = flags.DEFINE_string("hosts", None, "how the processes of a run connect: <coordinator address>:<port>,<number "
                             "of processes>,<index of this process, from 0>, or auto to detect the cluster (TPU pod, "
                             "SLURM, Kubernetes, Open MPI)")

_USAGE = 2  # the exit code of a usage error
_FAILED = 1  # the exit code of a command that failed


class Folder(flags.ArgumentParser):
  """Reads a flag that names a folder, for `flags.DEFINE`: a shell leaves the `~` of `--workdir=~/runs` to us."""

  def parse(self, argument: str) -> str:
    return os.path.expanduser(argument)


def run(main: Callable[[list[str]], Any], *, in_pods: bool = False) -> NoReturn:
  """Runs `main` under absl; a user error (`ValueError`, missing file) ends it with one sentence and exit code 2.

  A damaged folder, a full disk and a diverged training end it in the same way with exit code 1. `--verbosity=1` shows
  the stack trace. A command that can run in several processes (`in_pods`) is connected to the others before `main` is
  called; other commands refuse --hosts, because each process would repeat all of the work.
  """

  def guarded(arguments):
    interrupted.as_usual()
    if arguments[1:]:
      fail(f"unexpected argument {arguments[1]!r}; settings are given as --config.<field>=<value>.")
    if not any(argument.lstrip("-").startswith("verbosity") for argument in sys.argv[1:]):
      # Orbax logs thirty lines per save. The flag itself does not tell whether the user set it: a library sets it too.
      logging.set_verbosity(logging.WARNING)
      # Orbax also logs a stack trace for each error, which we report in one sentence or skip.
      logging.get_absl_handler().addFilter(lambda record: "orbax" not in record.pathname)
    try:
      if in_pods:
        connect()
      elif _HOSTS.value is not None:
        raise ValueError("this command runs in one process, so --hosts is not allowed; only launch.train, "
                         "launch.evaluate and launch.replay run in several.")
      main(arguments)
    except KeyboardInterrupt:
      print("\nStopped by Ctrl-C; the same command starts again, or resumes from the last checkpoint.", file=sys.stderr)
      raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
      raise SystemExit(_FAILED) from None
    except (ValueError, OSError, Damaged, Unsaved, FloatingPointError) as error:
      logging.debug("The error comes from here.", exc_info=True)
      fail(str(error), _USAGE if isinstance(error, (ValueError, FileNotFoundError)) else _FAILED)
    except (RuntimeError, AssertionError):  # what jax raises for a platform that is not there, among others
      if not (lacking := hosts.lacking_platform()):
        raise
      logging.debug("The error comes from here.", exc_info=True)
      fail(lacking)

  app.run(guarded, flags_parser=_parse)
  raise SystemExit(0)


def fail(sentence: str, code: int = _USAGE) -> NoReturn:
  """Ends the program with a sentence on standard error."""
  print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
  raise SystemExit(code)


def define_config(default: str) -> Callable[[], tuple[str, Any]]:
  """Defines the flag `--config=<recipe>` with `--config.<field>=<value>`; returns a reader of `(recipe, config)`.

  The reader returns the canonical name of the recipe (`find.name`), however it was typed.

  The settings in `sys.argv` are checked first, because ml_collections would report errors in them as stack traces.
  """
  try:
    recipe = _check_settings(sys.argv[1:], default)
    if any(argument in ("-h", "-help", "--help") for argument in sys.argv[1:]):
      signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` ends like any other command
      width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
      print(explain.text(recipe, find.load(recipe).__doc__ or "", default_config(recipe), width, learners(recipe),
                         learner_table.unread(default_config(recipe))),
            end="\n\n")
    name = find.name(recipe)
  except ValueError as error:
    fail(str(error))
  flag = config_flags.DEFINE_config_file("config", _file(default), "the name or file of the recipe, followed by a "
                                         "colon and its argument if it takes one; set its fields with "
                                         "--config.<field>=<value>")
  return lambda: (name, flag.value)


def take_settings() -> dict[str, str | None]:
  """Removes `--config.<field>=<value>` from the arguments and returns them by field; for commands without a recipe."""
  taken: dict[str, str | None] = {}
  for argument in sys.argv[1:]:
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name.startswith("config."):
      taken[name.removeprefix("config.")] = value if equals else None
      sys.argv.remove(argument)
  return taken


def run_name(recipe: str) -> str:
  """Returns the name of a run of a recipe, such as omniglot_ridge for `omniglot:ridge`."""
  word, argument = find.split(recipe)
  return "_".join([Path(word).stem, *argument])


def recorded(folder: Path | str, recipe: str) -> str:
  """Returns the name of a recipe as recorded in a workdir, if the workdir has a run of it; otherwise the given name.

  Workdirs of older versions record the path of a recipe instead of its bare name.
  """
  try:
    older = workdir.read(folder)["recipe"]
  except ValueError:  # there is no run
    return recipe
  return older if find.same(older, recipe) else recipe


def learners(recipe: str) -> list[str]:
  """Returns the possible arguments of a recipe, according to its `defaults()`; empty if it has none."""
  defaults = getattr(find.load(recipe), "defaults", None)
  return list(defaults()) if defaults else []


def default_config(recipe: str) -> Any:
  """Returns the default settings of a recipe.

  Raises:
    ValueError: if there is no such recipe, or its argument is missing, unknown or not expected.
  """
  word, argument = find.split(recipe)
  get_config = find.load(recipe).get_config
  try:
    inspect.signature(get_config).bind(*argument)
  except TypeError:
    raise ValueError(f"recipe {word} takes no argument, but got {argument[0]!r}; give --config={word}." if argument else
                     f"recipe {word} needs an argument; give --config={word}:<argument>.") from None
  return get_config(*argument)


def build(recipe: str, config: Any) -> Recipe:
  """Returns a recipe with these settings, checked as far as possible without compiling.

  Raises:
    ValueError: if the settings are invalid.
  """
  built = make(recipe, config)
  check(built)
  return built


def connect() -> None:
  """Connects to the other processes of the run if --hosts is given; must be called before any device is used.

  Raises:
    ValueError: if --hosts is malformed.
  """
  if _HOSTS.value is None:
    return
  if _HOSTS.value == "auto":
    hosts.connect(None)
    return
  parts = _HOSTS.value.split(",")
  if len(parts) != 3 or ":" not in parts[0] or not all(part.isdecimal() for part in parts[1:]):
    raise ValueError(f"--hosts must be auto or <address>:<port>,<processes>,<process>, such as 10.0.0.1:8476,4,0, but "
                     f"it is {_HOSTS.value}.")
  hosts.connect(hosts.Hosts(parts[0], int(parts[1]), int(parts[2])))


def make(recipe: str, config: Any) -> Recipe:
  """Returns a recipe with these settings, without further checks.

  Raises:
    ValueError: if the recipe refuses the settings.
  """
  return find.load(recipe).build(config)


def own_sweeps(recipe: str, config: Any) -> str:
  """Returns the default sweeps of a recipe in a comparison, from its `sweeps(config)`; empty if it has none."""
  sweeps = getattr(find.load(recipe), "sweeps", None)
  return sweeps(config) if sweeps else ""


def compared_with(recipe: str, config: Any) -> Mapping[str, Mapping[str, Mapping[Any, float]]]:
  """Returns results of other methods, from a recipe's `compared_with(config)`: by swept field, by name, by value."""
  compared = getattr(find.load(recipe), "compared_with", None)
  return compared(config) if compared else {}


def prepare() -> None:
  """Keeps freed memory for the next step, and caches compiled programs for the next run of a command."""
  memory.keep_freed_memory()
  jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))


def _file(recipe: str) -> str:
  """Returns the path of a recipe with its argument, as ml_collections needs it."""
  return ":".join([str(find.locate(recipe)), *find.split(recipe)[1]])


def _parse(argv: Sequence[str]) -> list[str]:
  if "config" in flags.FLAGS:
    argv = [f"--config={_file(word.partition('=')[2])}" if word.startswith(("-config=", "--config=")) else word
            for word in argv]
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    fail(f"{str(error).rstrip('.?')}; --help lists the flags.")


def _check_settings(arguments: Sequence[str], default: str) -> str:
  """Returns the recipe that the arguments name; raises ValueError if it or its settings are invalid."""
  path, seen = default, ""
  for argument in arguments:
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name == "config":
      if not value:
        raise ValueError("--config needs a value: --config=<recipe>.")
      if seen:
        raise ValueError(f"--config must come before its fields, but --{seen} is before it.")
      path = value
    elif argument.startswith("-") and name.removeprefix("no").startswith("config."):
      seen = name
  defaults, chosen = default_config(path), inspect.signature(find.load(path).get_config).parameters
  for argument in arguments:
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name.startswith("config."):
      field = name.removeprefix("config.")
      check_setting(defaults, field, value if equals else None)
      if field in chosen:  # it determines the defaults, so it cannot be changed afterwards
        raise ValueError(f"config.{field} is chosen with the recipe: --config={find.split(path)[0]}:{value}.")
    elif argument.startswith("-") and name.startswith("noconfig."):
      raise ValueError(f"--{name} is not understood; to switch something off, give --{name[2:]}=False.")
  return path
