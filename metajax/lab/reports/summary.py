"""The summary at the end of a run: its results, where files are, and useful next commands."""

import sys
from typing import Mapping, Sequence, TextIO

from rich.console import Console
from rich.text import Text


def show(results: Mapping[str, str], paths: Mapping[str, str], commands: Sequence[tuple[str, str]],
         file: TextIO | None = None) -> None:
  """Prints the summary to `file`, by default standard output, in two columns, the first bold on a terminal.

  Lines are never broken, so that commands can be copied.

  results: by measure, its value
  paths: by kind of output, its path
  commands: pairs of a purpose and a command
  """
  console = Console(file=sys.stdout if file is None else file, highlight=False)
  parts = [list(results.items()), list(paths.items()), list(commands)]
  width = max((len(name) for part in parts for name, _ in part), default=0)
  for part in parts:
    for name, value in part:
      console.print(Text.assemble((f"{name:<{width}}", "bold"), f"  {value}"), soft_wrap=True)
