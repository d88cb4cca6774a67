"""launch.on_slurm: its script is valid bash, and queues a preempted run again."""

import subprocess

import pytest

from launch import on_slurm
from metajax.lab.preemption import REQUEUE

_TRAIN = ["python", "-m", "launch.train", "--config=a b.py"]
_SETTINGS = dict(nodes=4, time="1:00:00", partition="p", gpus=3, cpus=12, python="py")


def test_the_script_is_bash_and_queues_a_preempted_run_again(tmp_path):
  made = on_slurm.script(_TRAIN, **_SETTINGS, variables={"A": "b 'c'\n#SBATCH --nodes=9 $HOME"})
  options = made[:made.index("\n\n")].split("\n")
  for option in ("--nodes=4", "--partition=p", "--gpus-per-node=3", "--time=1:00:00", "--signal=TERM@120"):
    assert f"#SBATCH {option}" in options
  # With fake srun and scontrol that print their arguments, the script works as intended.
  for name, body in {"srun": f'echo "$JAX_LOCAL_DEVICE_IDS $SRUN_CPUS_PER_TASK srun $@"; echo "A=$A"; exit {REQUEUE}',
                      "scontrol": "echo scontrol $@"}.items():
    (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    (tmp_path / name).chmod(0o755)
  done = subprocess.run(["bash", "-c", made], env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "12"},
                        capture_output=True, text=True, check=False)
  assert done.returncode == REQUEUE, done.stderr
  assert "launch.train --config=a b.py --hosts=auto" in done.stdout and "scontrol requeue 12" in done.stdout
  assert done.stdout.startswith("0,1,2 12 srun")  # all GPUs of the node; jax would use one
  assert "A=b 'c'\n#SBATCH --nodes=9 $HOME\n" in done.stdout


@pytest.mark.parametrize("time, seconds", [
    ("90", 5400), ("90:30", 5430), ("12:00:00", 43200), ("2-00", 172800), ("1-02:03", 93780), ("1-02:03:04", 93784),
    ("0", 0), ("UNLIMITED", 0), ("infinite", 0)])
def test_a_time_limit_is_read_as_slurm_reads_it(time, seconds):
  assert on_slurm.seconds(time) == seconds


@pytest.mark.bad_input
@pytest.mark.parametrize("settings, sentence", [
    *(({"time": time}, "is not a time limit; give")
      for time in ("", "12h", "1:2:3:4", "-1", "1-", "1-2-3", "1.5", "٣")),
    ({"time": "2"}, "--time=2 is 120 s"), ({"time": "0:01:30"}, "--time=0:01:30 is 90 s"),
    ({"partition": "a b"}, "'a b' is not the name of a partition"), ({"partition": ""}, "'' is not the name"),
    ({"partition": "a\n#SBATCH --exclusive"}, "is not the name of a partition")])
def test_what_slurm_would_refuse(settings, sentence):
  with pytest.raises(ValueError, match=sentence):
    on_slurm.script(_TRAIN, **{**_SETTINGS, **settings})
