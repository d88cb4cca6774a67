"""Ctrl-C while a command is still importing: a sentence, instead of a trace from inside some extension.

`launch` imports this module before anything else.
"""

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130  # the exit code after Ctrl-C, by the convention of shells


def leave(number: int, frame: Any) -> None:
  """Ends the process with a sentence; nothing was done yet."""
  os.write(2, b"\nStopped by Ctrl-C before anything was done; the same command starts again.\n")
  os._exit(INTERRUPTED)


def as_usual() -> None:
  """Lets Ctrl-C raise KeyboardInterrupt from now on; called when a command has been imported."""
  if signal.getsignal(signal.SIGINT) is leave:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A command line is being started, python -m launch.<command> or metajax <command>, and Ctrl-C is not ignored, as by
# nohup. An interrupt in an import may also be swallowed by what is imported, so that the command goes on.
_STARTED = bool(sys.argv) and (sys.argv[0] == "-m" or os.path.basename(sys.argv[0]) == "metajax")
if _STARTED and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
  signal.signal(signal.SIGINT, leave)
