"""The launchers of pods: what they would run, and processes watched together."""

import json
import subprocess
import sys

import pytest

from launch import on_hosts, on_kubernetes, on_slurm, on_tpu, pods
from metajax.preemption import REQUEUE

_TRAIN = ["python", "-m", "launch.train", "--config=a b.py"]


@pytest.mark.parametrize("command", [_TRAIN, _TRAIN[1:], _TRAIN[2:], ["/usr/bin/python3.11", *_TRAIN[1:]]])
def test_the_command_may_be_written_as_one_likes(command):
  assert pods.as_module(command) == ["launch.train", "--config=a b.py"]


@pytest.mark.parametrize("command", [[], ["python"], ["--config=x.py"]])
def test_no_command_is_refused(command):
  with pytest.raises(ValueError, match="give the command to run after two dashes"):
    pods.as_module(command)


def test_the_first_that_fails_ends_the_others(capfd):
  sleeper = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
  assert pods.run_together([sleeper, [sys.executable, "-c", "raise SystemExit(7)"]]) == 7
  assert "[0] here" in capfd.readouterr().out


def test_one_that_was_asked_to_stop_leaves_the_others_time_to_save(capfd):
  slow = f"import time; time.sleep({pods._GRACE + 1}); print('saved', flush=True); raise SystemExit({REQUEUE})"
  both = [[sys.executable, "-c", f"raise SystemExit({REQUEUE})"], [sys.executable, "-c", slow]]
  assert pods.run_together(both) == REQUEUE
  assert "[1] saved" in capfd.readouterr().out


def test_all_well_is_zero(capfd):
  assert pods.run_together([[sys.executable, "-c", f"print({i})"] for i in range(2)]) == 0
  assert sorted(capfd.readouterr().out.split("\n")) == ["", "[0] 0", "[1] 1"]


def test_ssh():
  first, second = on_hosts.commands(_TRAIN, ["me@one", "two"], "my folder", "py", 9)
  assert first == ["ssh", "-o", "BatchMode=yes", "me@one",
                   "cd 'my folder' && exec py -m launch.train '--config=a b.py' --hosts=one:9,2,0"]
  assert second[3] == "two" and second[4].endswith("--hosts=one:9,2,1")
  with pytest.raises(ValueError, match="no machines are named"):
    on_hosts.commands(_TRAIN, [], "f", "py", 9)


def test_tpu():
  made = on_tpu.command_of(_TRAIN, "pod", "z", "p", "metajax", "py")
  assert made == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z", "--project=p", "--worker=all",
                  "--command=cd metajax && py -m launch.train '--config=a b.py' --hosts=auto"]
  with pytest.raises(ValueError, match="which TPU is meant"):
    on_tpu.command_of(_TRAIN, None, "z", None, "metajax", "py")


def test_slurm_script_is_bash_and_queues_a_preempted_run_again(tmp_path):
  made = on_slurm.script(_TRAIN, nodes=4, time="1:00:00", partition="p", gpus=8, python="py")
  assert "#SBATCH --nodes=4\n" in made and "#SBATCH --partition=p\n" in made and "#SBATCH --gpus-per-node=8\n" in made
  # With a srun and a scontrol that tell what they were asked, the script does what it should.
  for name, body in {"srun": f"echo srun $@; exit {REQUEUE}", "scontrol": "echo scontrol $@"}.items():
    (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(["bash", "-c", made], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "12"},
                        capture_output=True, text=True, check=False)
  assert done.returncode == REQUEUE, done.stderr
  assert "launch.train --config=a b.py --hosts=auto" in done.stdout and "scontrol requeue 12" in done.stdout


def test_kubernetes_manifest():
  settings = dict(name="run", image="i", processes=16, chips=4, accelerator="tpu-v5p-slice", topology="4x4x4",
                  restarts=3)
  made = json.loads(json.dumps(on_kubernetes.manifest(_TRAIN, **settings)))
  job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
  assert job["parallelism"] == job["completions"] == 16 and made["spec"]["failurePolicy"]["maxRestarts"] == 3
  container = job["template"]["spec"]["containers"][0]
  assert container["command"] == ["python", "-m", "launch.train", "--config=a b.py", "--hosts=auto"]
  assert container["resources"]["limits"] == {"google.com/tpu": 4}
  with pytest.raises(ValueError, match="needs both"):
    on_kubernetes.manifest(_TRAIN, **{**settings, "topology": None})
  with pytest.raises(ValueError, match="no container image"):
    on_kubernetes.manifest(_TRAIN, **{**settings, "image": None})


@pytest.mark.parametrize("launcher, flags", [("on_hosts", ["--hosts_list=a,b"]), ("on_slurm", [])])
def test_dry_runs_print_and_run_nothing(launcher, flags):
  done = subprocess.run([*pods.python([f"launch.{launcher}"]), *flags, "--dry_run", "--", *_TRAIN],
                        capture_output=True, text=True, check=False)
  assert done.returncode == 0 and "-m launch.train" in done.stdout and "--hosts=" in done.stdout, done.stderr
