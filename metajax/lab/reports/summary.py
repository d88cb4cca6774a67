"""The end of a run in the terminal: its results, where everything is, and what to type next."""

import sys
from typing import Mapping, Sequence, TextIO

from rich.console import Console
from rich.text import Text


def show(results: Mapping[str, str], places: Mapping[str, str], commands: Sequence[tuple[str, str]],
         file: TextIO | None = None) -> None:
  """Prints the summary on `file`, by default standard output, as two columns, the first bold on a terminal.

  Lines are never broken: a command that is cannot be copied.

  results: a measure and what it came to
  places: what was written, and where
  commands: what each is for, and the command
  """
  console = Console(file=sys.stdout if file is None else file, highlight=False)
  parts = [list(results.items()), list(places.items()), list(commands)]
  width = max((len(name) for part in parts for name, _ in part), default=0)
  for part in parts:
    for name, value in part:
      console.print(Text.assemble((f"{name:<{width}}", "bold"), f"  {value}"), soft_wrap=True)
