"""Shared by the launchers of pods: the command of every process, its environment, and running processes together."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Mapping, NoReturn, Sequence

from absl import app, flags

from launch import command_line, pod_checks
from metajax.lab.preemption import INTERRUPTED, REQUEUE

flags.disclaim_key_flags()  # --help of each launcher lists the flags that are defined here for it

_GRACE = 3.0  # seconds between the failure of a process and the end of the others
_WELL = (0, REQUEUE, INTERRUPTED)  # exit codes of a process that ended as requested


def define_flags(dry_run: str) -> None:
  """Defines the flags that all launchers have; `dry_run` says what is printed."""
  flags.DEFINE_multi_string("env", [], "an environment variable of every process, <name>=<value>, or <name> to pass on "
                            "its value here; may be repeated")
  flags.DEFINE_boolean("dry_run", False, dry_run)
  flags.DEFINE_boolean("check", True, "check the command on this machine first; --nocheck if its module or its recipe "
                       "is only on the others")


def start(main: Callable[[list[str]], Any]) -> NoReturn:
  """Runs the `main` of a launcher under absl; a user error ends it with one sentence and exit code 2."""

  def guarded(arguments):
    try:
      if flags.FLAGS.hosts is not None:  # command_line defines it, and on_hosts has a flag of a similar name
        raise ValueError("a launcher gives every process its --hosts, so it takes none; machines are named in "
                         "launch.on_hosts --hosts_list=<first>,<second>,...")
      main(arguments)
    except KeyboardInterrupt:
      raise SystemExit(INTERRUPTED) from None
    except FileNotFoundError as error:
      command_line.fail(f"the program {error.filename} was not found; install it, or add its folder to PATH.")
    except ValueError as error:
      command_line.fail(str(error))

  app.run(guarded, flags_parser=_parse)
  raise SystemExit(0)


def check_command(command: Sequence[str], *, processes: int | None = None, shared: Sequence[str] | None = None,
                  needs_workdir: bool = False) -> None:
  """Raises ValueError if every process would refuse the command; see `pod_checks.check`. Does nothing with --nocheck.

  Raises:
    ValueError: the sentence that the processes would print, or that of `as_module`.
  """
  words = as_module(command)
  if flags.FLAGS.check:
    pod_checks.check(words, processes=processes, shared=shared, needs_workdir=needs_workdir)


def variables() -> dict[str, str]:
  """Returns the variables that this launcher's --env names.

  Raises:
    ValueError: as in `parse_environment`.
  """
  return parse_environment(flags.FLAGS.env, os.environ)


def parse_environment(given: Sequence[str], here: Mapping[str, str]) -> dict[str, str]:
  """Returns the variables that `--env` names, each `<name>=<value>`, or `<name>` for its value `here`; the last counts.

  Raises:
    ValueError: if a name is not that of a variable, or has no value here.
  """
  read = {}
  for words in given:
    name, equals, value = words.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
      raise ValueError(f"--env must be <name>=<value>, with a name of letters, digits and underscores, but it is "
                       f"{words!r}; give for example --env=METAJAX_DATA_DIR=/shared/data.")
    if not equals and name not in here:
      raise ValueError(f"--env={name} passes on a variable of this process, but {name} is not set here; set it, or "
                       f"give --env={name}=<value>.")
    read[name] = value if equals else here[name]
  return read


def with_environment(added: Mapping[str, str], words: Sequence[str]) -> list[str]:
  """Returns the words of a command that runs with these variables added to its environment."""
  return ["env", *(f"{name}={value}" for name, value in added.items()), *words] if added else list(words)


def as_module(command: Sequence[str]) -> list[str]:
  """Returns the words of a command without a leading `python -m`; `metajax train` becomes `launch.train`.

  Raises:
    ValueError: if the command names no module, or has --hosts, which a launcher adds.
  """
  rest = list(command)
  if rest[:1] and os.path.basename(rest[0]).startswith("python"):
    rest = rest[1:]
  if rest[:1] == ["-m"]:
    rest = rest[1:]
  if rest[1:2] and os.path.basename(rest[0]) in ("metajax", "launch") and not rest[1].startswith("-"):
    rest = [f"launch.{rest[1]}", *rest[2:]]
  if not rest or rest[0].startswith("-"):
    raise ValueError("give the command to run after two dashes: -- python -m launch.train --config=<recipe>.")
  given = [word for word in rest[1:] if re.match(r"--?hosts(=|$)", word)]
  if given:
    raise ValueError(f"the command has {given[0]}, which a launcher gives every process itself; leave it out.")
  return rest


def run_together(commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None, *,
                 told_by_input: bool = False) -> int:
  """Runs commands in parallel and returns the exit code of the first that fails, or 0.

  Their output is prefixed by the index of the process. If one fails, the others are killed, because they cannot
  continue without it. SIGTERM and SIGINT are forwarded to all. The exit code of a process that was ended by a signal is
  128 plus the signal's number, as in a shell.

  Args:
    commands: one for each process.
    environment: environment variables, by default those of this process.
    told_by_input: forward the first signal by closing standard input, for commands that treat this as a signal.
  """
  pod: list[subprocess.Popen] = []
  early: list[int] = []  # signals that came before all had started

  def pass_on(number, frame):
    if len(pod) < len(commands):
      early.append(number)
      return
    for member in pod:
      if member.stdin is None or member.stdin.closed:
        member.send_signal(number)
      else:
        member.stdin.close()

  before = {}
  if threading.current_thread() is threading.main_thread():
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
  failed = 0
  try:
    for command in commands:
      # In separate process groups: otherwise Ctrl-C would reach them twice, from the terminal and from here, and a
      # second signal ends a process immediately.
      pod.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  stdin=subprocess.PIPE if told_by_input else subprocess.DEVNULL, process_group=0))
    readers = [threading.Thread(target=_say, args=(process, member)) for process, member in enumerate(pod)]
    for reader in readers:
      reader.start()
    for number in early:
      pass_on(number, None)
    while None in [member.poll() for member in pod]:  # polls every process, so that no failure is missed
      # A process that stopped on request has saved together with the others, which may take a little longer.
      codes = [member.returncode for member in pod if member.returncode not in (None, *_WELL)]
      if codes and not failed:
        failed = codes[0]
        time.sleep(_GRACE)  # the others may be about to report the cause, or to fail in the same way
        for member in pod:
          member.kill()
      time.sleep(0.1)
    for reader in readers:
      reader.join()
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  code = failed or next((member.returncode for member in pod if member.returncode), 0)
  return code if code >= 0 else 128 - code


def python(module_and_flags: Sequence[str]) -> list[str]:
  """Returns the command line that runs a module with the current Python."""
  return [sys.executable, "-m", *module_and_flags]


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    command_line.fail(f"{str(error).rstrip('.?')}; --help lists the flags.")


def _say(process: int, member: subprocess.Popen) -> None:
  assert member.stdout is not None
  with member.stdout:
    for line in member.stdout:
      print(f"[{process}] {line}", end="", flush=True)
