"""Command lines. They need the extra `lab`."""

import sys
from typing import Any

from metajax.checks import check_installed

try:
  check_installed("lab", "grain", "matplotlib", "ml_collections", "rich", "scipy", "sklearn", "tensorboardX")
except ImportError as error:
  sys.exit(f"error: {error}")


def _interrupted(kind: type[BaseException], error: BaseException, trace: Any) -> None:
  """Says in a sentence that Ctrl-C ended a command while it was still importing; other errors are shown as always."""
  if issubclass(kind, KeyboardInterrupt):
    print("\nStopped by Ctrl-C before anything was done; the same command starts again.", file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # a command line is being started
  sys.excepthook = _interrupted
