"""Two processes with two devices each compute the same as one with four, and survive the same faults."""

import json
import re
import signal
import subprocess
import threading
import time

import jax
import numpy as np
import pytest

from launch import command_line, faults, fields, local_pod, pods
from metajax.lab import run as runs
from metajax.lab import workdir as workdirs
from metajax.lab.preemption import REQUEUE
from metajax.lab.replay import replay
from metajax.lab.reports.writers import read_csv
from metajax.lab.working_copy import working_copy
from tests import buckets

_TRAIN = ["launch.train", "--config=sinusoid:maml", "--config.training.steps=81",
          "--config.training.steps_per_row=10", "--config.training.steps_per_dispatch=2",
          "--config.training.rows_per_checkpoint=1", "--config.training.tasks_per_step=8",
          "--config.test.episodes=10", "--config.test.val_episodes=6"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
  """A shared cache of compiled programs."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("METAJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
  """The workdir of an uninterrupted run on two processes with two devices each."""
  workdir = tmp_path_factory.mktemp("whole")
  assert local_pod.run([*_TRAIN, f"--workdir={workdir}"], 2, 2) == 0
  return workdir


def checkpoints(workdir):
  """Returns the steps that have a checkpoint."""
  return sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit())


def restored(workdir):
  """Returns the last state of a run."""
  run = workdirs.read(workdir)
  config = fields.from_mapping(command_line.default_config(run["recipe"]), run["config"])
  return runs.restore(command_line.make(run["recipe"], config), workdir)


def run_and_signal(monkeypatch, command, number, process, moment, processes=2, devices=2):
  """Runs a command as a pod, sends a signal to one of its processes at a given time; returns the pod's exit code."""
  members, start, ended = [], subprocess.Popen, threading.Event()
  monkeypatch.setattr(pods.subprocess, "Popen", lambda *args, **kwargs: members.append(start(*args, **kwargs))
                      or members[-1])

  def wait_and_send():
    while not ended.is_set():
      if moment():
        members[process].send_signal(number)
        return
      time.sleep(0.002)

  sender = threading.Thread(target=wait_and_send)
  sender.start()
  try:
    return local_pod.run(command, processes, devices)
  finally:
    ended.set()
    sender.join()
    monkeypatch.undo()


def test_a_pod_in_a_bucket_is_the_pod_on_disk(whole, monkeypatch):
  """Stopped half way and continued: each process has the checkpoint from the first."""
  with buckets.s3() as environment:
    for name, value in environment.items():
      monkeypatch.setenv(name, value)
    train = [*_TRAIN, "--workdir=s3://runs/pod", "--config.training.keep_best=-val_loss"]
    assert local_pod.run([*train, "--config.training.steps=40"], 2, 2) == 0
    assert local_pod.run(train, 2, 2) == 0
    with working_copy("s3://runs/pod", writes=False) as copy:
      assert (copy.folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
      told = json.loads((copy.folder / "test.json").read_text())
      assert told["step"] in checkpoints(copy.folder)  # the best
      assert jax.tree.all(jax.tree.map(np.array_equal, restored(copy.folder), restored(whole)))


def test_two_processes_of_two_devices_are_one_of_four(whole, tmp_path):
  assert local_pod.run([*_TRAIN, f"--workdir={tmp_path}"], 1, 4) == 0
  two, one = (read_csv(workdir / "metrics.csv") for workdir in (whole, tmp_path))
  assert two.keys() == one.keys() and two["step"].tolist() == [*range(10, 81, 10), 81]
  for name in two:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-4, err_msg=name)
  tests = [json.loads((workdir / "test.json").read_text(encoding="utf-8"))["results"] for workdir in (whole, tmp_path)]
  assert tests[0]["loss"]["mean"] == pytest.approx(tests[1]["loss"]["mean"], rel=1e-4)


def test_a_step_of_a_pod_is_done_again_by_a_pod_and_by_one_process(whole, capfd):
  once = read_csv(whole / "metrics.csv")["loss"][-1]  # the last step has its own row
  assert local_pod.run(["launch.replay", f"--workdir={whole}", "--step=81"], 2, 2) == 0
  said = capfd.readouterr().out
  assert "[0] From step 80 to step 81." in said and "[1] From" not in said and (whole / "step_81.npz").exists()
  loss = re.search(r"\bloss (\S+)", said)
  assert loss and float(loss[1]) == pytest.approx(once, rel=1e-3)  # as printed
  run = workdirs.read(whole)
  config = fields.from_mapping(command_line.default_config(run["recipe"]), run["config"])
  checked = replay(command_line.make(run["recipe"], config), whole, 81, say=lambda _: None)
  assert float(checked.metrics["loss"]) == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_one_process_is_stopped_or_killed_and_results_are_identical(whole, tmp_path, monkeypatch, capfd, number):
  command = [*_TRAIN, f"--workdir={tmp_path}"]
  # It is not the one that prints, and the other ends too; if one was killed, the other may fail in several ways.
  code = run_and_signal(monkeypatch, command, number, 1, lambda: checkpoints(tmp_path))
  assert code == REQUEUE if number == signal.SIGTERM else code not in (0, REQUEUE)
  said = capfd.readouterr().out
  assert "[0] Training: 81 steps of 8 tasks on 4 devices" in said and "[1] Training" not in said
  last = checkpoints(tmp_path)[-1]
  assert last < 81 and not (tmp_path / "test.json").exists()
  if number == signal.SIGTERM:  # both have stopped and saved after the same step
    assert f"[0] Stopped on request and saved after {last} of 81 steps" in said
  assert local_pod.run(command, 2, 2) == 0
  assert faults.outcome(tmp_path) == faults.outcome(whole)


@pytest.mark.slow
def test_a_run_resumes_on_another_number_of_processes(whole, tmp_path, monkeypatch):
  command = [*_TRAIN, f"--workdir={tmp_path}"]
  for processes, devices in ((1, 8), (2, 4)):
    before = checkpoints(tmp_path)[-1:]
    assert run_and_signal(monkeypatch, command, signal.SIGTERM, processes - 1,
                          lambda: checkpoints(tmp_path)[-1:] > before, processes, devices) == REQUEUE
    assert checkpoints(tmp_path)[-1:] > before and not (tmp_path / "test.json").exists()
  assert local_pod.run(command, 1, 1) == 0
  ours, others = (read_csv(workdir / "metrics.csv") for workdir in (tmp_path, whole))
  assert ours["step"].tolist() == others["step"].tolist()
  for name in others:  # with the same tasks; otherwise they would differ in the first digit
    np.testing.assert_allclose(ours[name], others[name], rtol=1e-3, err_msg=name)
  (params, same) = (restored(workdir).params for workdir in (tmp_path, whole))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), params, same)


@pytest.mark.slow
def test_processes_that_read_ahead_are_one_that_has_all_on_its_devices(tmp_path, monkeypatch, capfd):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # the programs run only three times
  images = np.random.default_rng(0).integers(0, 255, (90, 16, 16, 1), np.uint8)
  np.savez(tmp_path / "a.npz", inputs=images, targets=np.arange(90) % 15)
  train = ["launch.train", "--config=few_shot:ridge", f"--config.data=npz:{tmp_path / 'a.npz'}",
           "--config.ways=2", "--config.train_queries=2", "--config.test_queries=2", "--config.filters=2",
           "--config.training.steps=3", "--config.training.steps_per_row=1", "--config.training.tasks_per_step=4",
           "--config.test.episodes=4", "--config.test.val_episodes=4"]
  for where, processes in (("pipeline", 2), ("device", 1)):
    assert local_pod.run([*train, f"--config.examples={where}", f"--workdir={tmp_path / where}"], processes,
                         2 // processes) == 0, capfd.readouterr()
  # A task whose examples were not read has a non-finite loss, which ends a run.
  ours, one = (read_csv(tmp_path / where / "metrics.csv") for where in ("pipeline", "device"))
  for name in one:
    np.testing.assert_allclose(ours[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)
  params, same = (restored(tmp_path / where).params for where in ("pipeline", "device"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), params, same)
  tests = [json.loads((tmp_path / where / "test.json").read_text(encoding="utf-8"))["results"]["loss"]["mean"]
           for where in ("pipeline", "device")]
  assert tests[0] == pytest.approx(tests[1], rel=1e-3)


@pytest.mark.slow
def test_omniglot_maml_is_killed_goes_on_and_is_evaluated(data_dir, tmp_path, monkeypatch):
  train = ["launch.train", "--config=omniglot_maml", "--config.filters=8",
           "--config.training.steps=12", "--config.training.steps_per_row=2", "--config.training.rows_per_checkpoint=1",
           "--config.training.tasks_per_step=8", "--config.test.episodes=16", "--config.test.val_episodes=8"]
  alone, killed = (tmp_path / name for name in ("alone", "killed"))
  assert local_pod.run([*train, f"--workdir={alone}"], 2, 4) == 0
  command = [*train, f"--workdir={killed}"]
  assert run_and_signal(monkeypatch, command, signal.SIGKILL, 1, lambda: checkpoints(killed), 2, 4) not in (0, REQUEUE)
  assert run_and_signal(monkeypatch, command, signal.SIGTERM, 1, lambda: len(checkpoints(killed)) > 1, 2, 4) == REQUEUE
  assert checkpoints(killed)[-1] < 12
  assert local_pod.run(command, 2, 4) == 0
  for workdir in (alone, killed):
    assert local_pod.run(["launch.evaluate", f"--workdir={workdir}", "--episodes=24"], 2, 4) == 0
  assert faults.outcome(killed) == faults.outcome(alone)
  assert (killed / "test_24_0.json").read_bytes() == (alone / "test_24_0.json").read_bytes()
  assert (killed / "test_24_0_episodes.npz").read_bytes() == (alone / "test_24_0_episodes.npz").read_bytes()


def test_one_that_fails_ends_the_others(tmp_path):
  assert local_pod.run(["launch.train", "--config.training.tasks_per_step=5", f"--workdir={tmp_path / 'w'}"], 2, 1) == 2


def test_variables_are_added_to_simulated_devices(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_force_host_platform_device_count=9")
  flags = "--xla_a=1 --xla_force_host_platform_device_count=2"
  assert local_pod.environment(2, {"A": "b"}) == {"A": "b", "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1",
                                                  "XLA_FLAGS": flags}
  assert local_pod.environment(2, {"XLA_FLAGS": "--xla_b=2"})["XLA_FLAGS"] == flags.replace("a=1", "b=2")


@pytest.mark.bad_input
def test_real_devices_are_refused():
  with pytest.raises(ValueError, match="--env=JAX_PLATFORMS=cuda asks for devices"):
    local_pod.environment(2, {"JAX_PLATFORMS": "cuda"})
