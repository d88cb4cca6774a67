"""launch.on_hosts with a stand-in for ssh that runs the commands here."""

import os
import shlex
import signal
import subprocess

import pytest

from launch import on_hosts, pods
from metajax.lab.preemption import REQUEUE

_TRAIN = ["python", "-m", "launch.train", "--config=a b.py"]
_VARIABLES = {"A": "b 'c' $HOME"}


def test_the_commands():
  first, second = on_hosts.commands(_TRAIN, ["me@one", "two"], "my folder", "py", 9)
  assert first[:4] == ["ssh", "-o", "BatchMode=yes", "me@one"] and second[3] == "two"
  assert "py -m launch.train '--config=a b.py' --hosts=one:9,2,0" in shlex.split(first[4])[2]
  assert "--hosts=one:9,2,1 " in shlex.split(second[4])[2]


@pytest.mark.bad_input
@pytest.mark.parametrize("machines, sentence", [
    ([], "no machines are named"), (["a", ""], "names the machine '', which"), (["-oProxy=x"], "'-oProxy=x', which"),
    (["a b"], "'a b', which"), (["a", "b", "a"], "names a twice")])
def test_what_is_no_list_of_machines(machines, sentence):
  with pytest.raises(ValueError, match=sentence):
    on_hosts.commands(_TRAIN, machines, "f", "py", 9)


def test_processes_run_with_their_variables_and_stop_together(tmp_path, monkeypatch):
  # With a fake ssh that runs locally, and a fake Python that waits for a signal.
  (tmp_path / "ssh").write_text('#!/bin/sh\nexec sh -c "$4"\n', encoding="utf-8")
  (tmp_path / "py").write_text('#!/bin/sh\ntrap "echo told; exit 75" TERM\necho "$* from $PWD with $A"\n'
                               '[ "$3" = end ] && exit 0\nwhile :; do sleep 0.1; done\n', encoding="utf-8")
  for name in ("ssh", "py"):
    (tmp_path / name).chmod(0o755)
  folder = tmp_path / "my folder"
  folder.mkdir()
  monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
  launch = [*pods.python(["launch.on_hosts"]), "--hosts_list=one,two", f"--folder={folder}", f"--python={tmp_path}/py",
            *(f"--env={name}={value}" for name, value in _VARIABLES.items()), "--nocheck"]
  done = subprocess.run([*launch, "--", "module", "end"], capture_output=True, text=True, timeout=60, check=False)
  assert done.returncode == 0, done.stderr
  assert f"[1] -m module end --hosts=one:8476,2,1 from {folder} with {_VARIABLES['A']}\n" in done.stdout
  with subprocess.Popen([*launch, "--", "module", "wait"], stdout=subprocess.PIPE, text=True) as launcher:
    said = [launcher.stdout.readline() for _ in range(2)]
    launcher.send_signal(signal.SIGINT)
    said += launcher.stdout.readlines()
    assert launcher.wait(30) == REQUEUE and {"[0] told\n", "[1] told\n"} <= set(said)
