"""The launchers of pods: their commands, and processes that run together."""

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest

from launch import on_hosts, on_kubernetes, on_slurm, on_tpu, pods
from metajax.lab.preemption import REQUEUE

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


def test_one_that_a_signal_ended_has_the_code_of_a_shell():
  assert pods.run_together([[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]]) == 137


def test_ssh(tmp_path, monkeypatch):
  first, second = on_hosts.commands(_TRAIN, ["me@one", "two"], "my folder", "py", 9)
  assert first[:4] == ["ssh", "-o", "BatchMode=yes", "me@one"] and second[3] == "two"
  assert "py -m launch.train '--config=a b.py' --hosts=one:9,2,0" in shlex.split(first[4])[2]
  assert "--hosts=one:9,2,1 " in shlex.split(second[4])[2]
  with pytest.raises(ValueError, match="no machines are named"):
    on_hosts.commands(_TRAIN, [], "f", "py", 9)
  # With a fake ssh that runs locally, and a fake Python that waits for a signal.
  (tmp_path / "ssh").write_text('#!/bin/sh\nexec sh -c "$4"\n', encoding="utf-8")
  (tmp_path / "py").write_text('#!/bin/sh\ntrap "echo told; exit 75" TERM\necho $* from $PWD\n'
                               '[ "$3" = end ] && exit 0\nwhile :; do sleep 0.1; done\n', encoding="utf-8")
  for name in ("ssh", "py"):
    (tmp_path / name).chmod(0o755)
  folder = tmp_path / "my folder"
  folder.mkdir()
  monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
  launch = [*pods.python(["launch.on_hosts"]), "--hosts_list=one,two", f"--folder={folder}", f"--python={tmp_path}/py"]
  done = subprocess.run([*launch, "--", "module", "end"], capture_output=True, text=True, timeout=60, check=False)
  assert done.returncode == 0 and f"[1] -m module end --hosts=one:8476,2,1 from {folder}\n" in done.stdout, done.stderr
  with subprocess.Popen([*launch, "--", "module", "wait"], stdout=subprocess.PIPE, text=True) as launcher:
    said = [launcher.stdout.readline() for _ in range(2)]
    launcher.send_signal(signal.SIGINT)
    said += launcher.stdout.readlines()
    assert launcher.wait(30) == REQUEUE and {"[0] told\n", "[1] told\n"} <= set(said)


def test_tpu():
  made = on_tpu.command_of(_TRAIN, "pod", "z", "p", "metajax", "py")
  assert made == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z", "--project=p", "--worker=all",
                  "--command=cd metajax && py -m launch.train '--config=a b.py' --hosts=auto"]
  with pytest.raises(ValueError, match="the TPU is not named"):
    on_tpu.command_of(_TRAIN, None, "z", None, "metajax", "py")


def test_slurm_script_is_bash_and_queues_a_preempted_run_again(tmp_path):
  made = on_slurm.script(_TRAIN, nodes=4, time="1:00:00", partition="p", gpus=3, cpus=12, python="py")
  assert "#SBATCH --nodes=4\n" in made and "#SBATCH --partition=p\n" in made and "#SBATCH --gpus-per-node=3\n" in made
  # With fake srun and scontrol that print their arguments, the script works as intended.
  for name, body in {"srun": f"echo $JAX_LOCAL_DEVICE_IDS $SRUN_CPUS_PER_TASK srun $@; exit {REQUEUE}",
                      "scontrol": "echo scontrol $@"}.items():
    (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(["bash", "-c", made], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "12"},
                        capture_output=True, text=True, check=False)
  assert done.returncode == REQUEUE, done.stderr
  assert "launch.train --config=a b.py --hosts=auto" in done.stdout and "scontrol requeue 12" in done.stdout
  assert done.stdout.startswith("0,1,2 12 srun")  # all GPUs of the node; jax would use one


def test_kubernetes_manifest():
  settings = dict(name="run", image="i", processes=16, chips=4, accelerator="tpu-v5p-slice", topology="4x4x4",
                  volume="runs:/shared", restarts=3)
  made = json.loads(json.dumps(on_kubernetes.manifest(_TRAIN, **settings)))
  job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
  assert job["parallelism"] == job["completions"] == 16 and made["spec"]["failurePolicy"]["maxRestarts"] == 3
  container = job["template"]["spec"]["containers"][0]
  assert container["command"] == ["python", "-m", "launch.train", "--config=a b.py", "--hosts=auto"]
  assert container["resources"]["limits"] == {"google.com/tpu": 4}
  assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
  assert job["template"]["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "runs"}
  others = on_kubernetes.manifest(_TRAIN, **{**settings, "accelerator": None, "topology": None})
  container = others["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
  assert container["command"][-1] == "--hosts=run-process-0-0.run:8476,16,$(PROCESS)"
  assert container["resources"]["limits"] == {"nvidia.com/gpu": 4} and container["env"][0]["name"] == "PROCESS"
  with pytest.raises(ValueError, match="needs both"):
    on_kubernetes.manifest(_TRAIN, **{**settings, "topology": None})
  with pytest.raises(ValueError, match="--volume must be <claim>:<path>"):
    on_kubernetes.manifest(_TRAIN, **{**settings, "volume": "runs"})
  with pytest.raises(ValueError, match="no container image"):
    on_kubernetes.manifest(_TRAIN, **{**settings, "image": None})


@pytest.mark.parametrize("launcher, flags", [("on_hosts", ["--hosts_list=a,b"]), ("on_slurm", [])])
def test_dry_runs_print_and_run_nothing(launcher, flags):
  done = subprocess.run([*pods.python([f"launch.{launcher}"]), *flags, "--dry_run", "--", *_TRAIN],
                        capture_output=True, text=True, check=False)
  assert done.returncode == 0 and "-m launch.train" in done.stdout and "--hosts=" in done.stdout, done.stderr
