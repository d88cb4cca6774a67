"""What launchers share: the command and its environment, and processes that run together."""

import os
import signal
import subprocess
import sys

import pytest

from launch import pods
from metajax.lab.preemption import REQUEUE

_TRAIN = ["python", "-m", "launch.train", "--config=a b.py"]


@pytest.mark.parametrize("command", [_TRAIN, _TRAIN[1:], _TRAIN[2:], ["/usr/bin/python3.11", *_TRAIN[1:]],
                                     ["metajax", "train", *_TRAIN[3:]],
                                     ["python", "-m", "launch", "train", *_TRAIN[3:]]])
def test_the_command_may_be_written_as_one_likes(command):
  assert pods.as_module(command) == ["launch.train", "--config=a b.py"]


@pytest.mark.parametrize("command", [[], ["python"], ["--config=x.py"]])
def test_no_command_is_refused(command):
  with pytest.raises(ValueError, match="give the command to run after two dashes"):
    pods.as_module(command)


@pytest.mark.bad_input
@pytest.mark.parametrize("word", ["--hosts=auto", "-hosts=a:1,2,0", "--hosts"])
def test_hosts_are_not_given_twice(word):
  with pytest.raises(ValueError, match=f"the command has {word}, which a launcher gives"):
    pods.as_module([*_TRAIN, word])


def test_variables_are_given_or_passed_on():
  given = ["A=b=c d", "HOME", "EMPTY=", "A=last"]
  assert pods.parse_environment(given, {"HOME": "/h", "A": "x"}) == {"A": "last", "HOME": "/h", "EMPTY": ""}
  assert pods.parse_environment(["A=b=c d"], {}) == {"A": "b=c d"}


@pytest.mark.bad_input
@pytest.mark.parametrize("given, words", [
    ("1A=b", "'1A=b'"), ("a-b=c", "'a-b=c'"), ("=b", "'=b'"), ("", "''"), ("A B=c", "'A B=c'"), ("A\n=c", "A"),
    ("é=c", "'é=c'"), ("ABSENT", "ABSENT is not set here")])
def test_what_is_no_variable_is_refused(given, words):
  with pytest.raises(ValueError, match=r"--env.*; (give|set)") as caught:
    pods.parse_environment([given], {})
  assert words in str(caught.value)


def test_variables_reach_a_process_as_they_are():
  value = "a b'c\"$HOME `d`\n\\"
  program = [sys.executable, "-c", "import os; print(ascii(os.environ['A']))"]
  done = subprocess.run(pods.with_environment({"A": value}, program), capture_output=True, text=True, check=True)
  assert done.stdout == f"{ascii(value)}\n"
  assert pods.with_environment({}, program) == program


def test_the_first_that_fails_ends_the_others(capfd):
  sleeper = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
  assert pods.run_together([sleeper, [sys.executable, "-c", "raise SystemExit(7)"]]) == 7
  assert "[0] here" in capfd.readouterr().out


def test_one_that_was_asked_to_stop_leaves_the_others_time_to_save(capfd, monkeypatch):
  monkeypatch.setattr(pods, "_GRACE", 0.5)
  slow = f"import time; time.sleep({pods._GRACE + 1}); print('saved', flush=True); raise SystemExit({REQUEUE})"
  both = [[sys.executable, "-c", f"raise SystemExit({REQUEUE})"], [sys.executable, "-c", slow]]
  assert pods.run_together(both) == REQUEUE
  assert "[1] saved" in capfd.readouterr().out


def test_all_well_is_zero(capfd):
  assert pods.run_together([[sys.executable, "-c", f"print({i})"] for i in range(2)]) == 0
  assert sorted(capfd.readouterr().out.split("\n")) == ["", "[0] 0", "[1] 1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_stop_is_passed_on_once_and_no_failure(capfd, number):
  # Each process ends at the second signal, and Ctrl-C to the process group would count as one.
  waits = ("import signal, sys, time\n"
           "def stop(number, frame):\n"
           "  signal.signal(number, signal.SIG_DFL)\n"
           "  time.sleep(0.5)\n"
           "  sys.exit(130 if number == signal.SIGINT else 75)\n"
           "signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGINT, stop)\n"
           "print('here', flush=True)\n"
           "time.sleep(60)")
  program = f"from launch import pods; raise SystemExit(pods.run_together([{[sys.executable, '-c', waits]!r}] * 2))"
  with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
                        ) as launcher:
    assert sorted(launcher.stdout.readline() for _ in range(2)) == ["[0] here\n", "[1] here\n"]
    os.killpg(launcher.pid, number)
    assert launcher.wait(30) == (130 if number == signal.SIGINT else REQUEUE)


def test_a_stop_while_processes_start_reaches_all(monkeypatch):
  start = subprocess.Popen

  def start_and_interrupt(*args, **kwargs):
    process = start(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGTERM)
    return process

  monkeypatch.setattr(pods.subprocess, "Popen", start_and_interrupt)
  sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
  assert pods.run_together([sleeper, sleeper]) == 128 + signal.SIGTERM


def test_one_that_a_signal_ended_has_the_code_of_a_shell():
  assert pods.run_together([[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]]) == 137
