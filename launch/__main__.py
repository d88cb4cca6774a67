"""The command `metajax`, installed with the package: `metajax train ...` is `python -m launch.train ...`.

  metajax train --config=quickstart
  metajax evaluate --workdir=runs/quickstart
  metajax predict --workdir=runs/quickstart --support=cards --query=unsorted
  metajax compare --config=sinusoid_maml --seeds=4 --arms=none,both
  metajax recipes
  metajax <command> --help
"""

import difflib
from pathlib import Path
import runpy
import sys


def commands() -> list[str]:
  """Returns the commands: the modules of this package that can be run."""
  return sorted(path.stem for path in Path(__file__).parent.glob("*.py")
                if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8") and path.stem != "__main__")


def main() -> None:
  """Runs the command that the first argument names; the others are its own."""
  known = commands()
  name = sys.argv[1] if len(sys.argv) > 1 else "--help"
  if name in ("-h", "-help", "--help", "help"):
    print(f"{(__doc__ or '').strip()}\n\nCommands: {', '.join(known)}")
    return
  if name not in known:
    close = difflib.get_close_matches(name, known, n=1)
    print(f"error: metajax has no command {name!r}; "
          + (f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."), file=sys.stderr)
    raise SystemExit(2)
  sys.argv = [f"metajax {name}", *sys.argv[2:]]
  runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()
