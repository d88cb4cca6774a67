"""launch.on_tpu: the commands of gcloud that create a TPU, and run on every worker of every slice."""

import os
import shlex
import subprocess

import pytest

from launch import on_tpu, pods

_TRAIN = ["python", "-m", "launch.train", "--config=a b.py"]
_SSH = ["gcloud", "compute", "tpus", "tpu-vm", "ssh"]
_CREATE = ["gcloud", "compute", "tpus", "queued-resources", "create"]
_RUN = "cd metajax && py -m launch.train '--config=a b.py' --hosts=auto"


def test_one_slice():
  made = on_tpu.commands(_TRAIN, on_tpu.named("pod", "z", "p"), "metajax", "py", {})
  assert made == [[*_SSH, "pod", "--zone=z", "--project=p", "--worker=all", f"--command={_RUN}"]]


def test_every_worker_of_every_slice():
  made = on_tpu.commands(_TRAIN, on_tpu.named("pod", "z", None, 3), "metajax", "py", {})
  assert made == [[*_SSH, f"pod-{slice}", "--zone=z", "--worker=all", f"--command={_RUN}"] for slice in range(3)]


def test_variables_pass_the_shell_of_a_worker(tmp_path):
  value = "b 'c' $HOME\nd"
  (made,) = on_tpu.commands(_TRAIN, on_tpu.named("pod", "z"), str(tmp_path), "./py", {"A": value})
  (tmp_path / "py").write_text('#!/bin/sh\necho "$A"\n', encoding="utf-8")
  (tmp_path / "py").chmod(0o755)
  done = subprocess.run(["sh", "-c", made[-1].removeprefix("--command=")], capture_output=True, text=True, check=True)
  assert done.stdout == f"{value}\n"


def test_creation_of_a_queued_resource():
  assert on_tpu.creation(on_tpu.named("pod", "z"), "v5p-256", "v2-alpha-tpuv5", False) == [
      *_CREATE, "pod", "--zone=z", "--node-id=pod", "--accelerator-type=v5p-256", "--runtime-version=v2-alpha-tpuv5"]
  # The nodes are then named pod-0 and pod-1.
  assert on_tpu.creation(on_tpu.named("pod", "z", "p", 2), "v5p-256", "v2-alpha-tpuv5", True) == [
      *_CREATE, "pod", "--zone=z", "--project=p", "--node-count=2", "--node-prefix=pod", "--accelerator-type=v5p-256",
      "--runtime-version=v2-alpha-tpuv5", "--spot"]


@pytest.mark.bad_input
@pytest.mark.parametrize("call, sentence", [
    (lambda: on_tpu.named(None, "z"), "the TPU is not named"),
    (lambda: on_tpu.named("pod", ""), "the TPU is not named"),
    (lambda: on_tpu.named("-pod", "z"), "--name=-pod is not the name"),
    (lambda: on_tpu.named("a b", "z"), "--name=a b is not the name"),
    (lambda: on_tpu.creation(on_tpu.named("a", "z"), None, "r", False), "--create needs the type"),
    (lambda: on_tpu.creation(on_tpu.named("a", "z"), "v5p-8", "", False), "--create needs the type")])
def test_what_is_no_tpu(call, sentence):
  with pytest.raises(ValueError, match=sentence):
    call()


def _launch(tmp_path, *arguments):
  """Runs the launcher with a fake gcloud that prints its arguments, one a line; returns its code, output and error."""
  (tmp_path / "gcloud").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n', encoding="utf-8")
  (tmp_path / "gcloud").chmod(0o755)
  done = subprocess.run([*pods.python(["launch.on_tpu"]), "--name=pod", "--zone=z", *arguments], capture_output=True,
                        text=True, check=False, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
  return done.returncode, done.stdout, done.stderr


def test_gcloud_is_told_the_same_as_a_dry_run_prints(tmp_path):
  create = ["--create", "--accelerator=v5p-8", "--runtime=r"]
  code, said, err = _launch(tmp_path, *create)
  assert code == 0 and said.split("\n")[:4] == _CREATE[1:], err
  assert shlex.split(_launch(tmp_path, *create, "--dry_run")[1]) == ["gcloud", *said.split("\n")[:-1]]
  code, said, err = _launch(tmp_path, "--slices=2", "--nocheck", "--", *_TRAIN)
  assert code == 0 and {"[0] pod-0", "[1] pod-1", "[1] --worker=all"} <= set(said.split("\n")), err


@pytest.mark.bad_input
@pytest.mark.parametrize("arguments, sentence", [
    (["--create", "--accelerator=v5p-8", "--runtime=r", "--", *_TRAIN], "error: --create only creates the TPU"),
    (["--spot", "--", *_TRAIN], "error: --spot is for --create"),
    (["--slices=0", "--", *_TRAIN], "error: flag --slices=0: "),
    (["--hosts=a,b", "--", *_TRAIN], "error: a launcher gives every process its --hosts")])
def test_flags_that_do_not_go_together(tmp_path, arguments, sentence):
  code, said, err = _launch(tmp_path, *arguments)
  assert (code, said) == (2, "") and err.startswith(sentence) and err.count("\n") == 1


@pytest.mark.bad_input
def test_a_program_that_is_not_installed_is_named(tmp_path):
  done = subprocess.run([*pods.python(["launch.on_tpu"]), "--name=p", "--zone=z", "--nocheck", "--", *_TRAIN],
                        capture_output=True, text=True, check=False, env={**os.environ, "PATH": str(tmp_path)})
  assert done.returncode == 2
  assert done.stderr == "error: the program gcloud was not found; install it, or add its folder to PATH.\n"
