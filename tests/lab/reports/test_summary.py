"""The summary of a run: plain lines in a file, a table on a terminal, and commands that can be copied from both."""

import io

from metajax.lab.reports import summary

_COMMAND = "python -m launch.evaluate --workdir=runs/a_long_name_of_a_run/in_a_folder/of_a_folder --episodes=5000"


class _Terminal(io.StringIO):

  def isatty(self):
    return True


def _shown(file):
  summary.show({"accuracy": "0.9310 ± 0.0062"}, {"report": "runs/[a]/report.html"}, [("test again", _COMMAND)], file)
  return file.getvalue()


def test_plain_lines():
  assert _shown(io.StringIO()).splitlines() == [
    "accuracy    0.9310 ± 0.0062", "report      runs/[a]/report.html", f"test again  {_COMMAND}"]


def test_a_terminal_gets_bold_names_and_whole_lines(monkeypatch):
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "60")
  assert _shown(_Terminal()).splitlines()[-1] == f"\x1b[1mtest again\x1b[0m  {_COMMAND}"
