"""Small complete runs: their files, and how they resume."""

import json

import jax
import numpy as np
import pytest

from metajax.lab import run as runs
from metajax.lab import session
from metajax.lab.checkpoints import Checkpoints
from metajax.lab.preemption import Preempted
from metajax.lab.session import check
from metajax.training.sharding import usable_devices
from tests.small_runs import build_sinusoid, rows, run, stop_after


def episodes(workdir, name="test"):
  with np.load(workdir / f"{name}_episodes.npz") as arrays:
    return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """The workdir, messages and results of an uninterrupted run, including figures."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, *run(build_sinusoid(pictures=True), workdir)


def test_a_run_writes_all_its_files(whole):
  workdir, said, results = whole
  for name in ("metrics.csv", "test.json", "test_episodes.npz", "curves.png", "fit.png", "task_map.png",
               "report.html"):
    assert (workdir / name).stat().st_size > 0, name
  assert all((workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("curves", "fit", "task_map"))
  assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps() == [4, 8]
  assert not (workdir / "checkpoints-damaged").exists()

  table = rows(workdir)
  assert [row["step"] for row in table] == ["2", "4", "6", "8"]
  assert {"loss", "episodic_loss", "contrastive_loss", "d_in", "d_out", "gradient_norm", "val_loss"} <= set(table[0])
  assert [bool(row["val_loss"]) for row in table] == [False, True, False, True]

  summary = json.loads((workdir / "test.json").read_text())
  values = episodes(workdir)["loss"]
  assert summary["episodes"] == 6 == len(values) and summary["test_seed"] == 0
  np.testing.assert_allclose(summary["results"]["loss"]["mean"], values.mean(dtype=np.float64), rtol=1e-12)
  np.testing.assert_allclose(summary["results"]["loss"]["interval_95"],
                             1.96 * values.astype(np.float64).std(ddof=1) / np.sqrt(6), rtol=1e-12)
  assert results["loss"].mean == summary["results"]["loss"]["mean"]
  assert summary["notes"] in said and "Sinusoids" in summary["notes"]


def test_an_ended_run_is_not_trained_again(whole, monkeypatch):
  workdir, _, _ = whole
  before, values = {name: (workdir / name).read_bytes() for name in ("metrics.csv", "test.json")}, episodes(workdir)
  monkeypatch.setattr(session, "make_advance", None)  # compiling a step fails the test
  said, _ = run(build_sinusoid(), workdir)
  assert any(sentence.startswith("Resuming after step 8") for sentence in said)
  assert {name: (workdir / name).read_bytes() for name in before} == before
  np.testing.assert_array_equal(episodes(workdir)["loss"], values["loss"], strict=True)


class _Interrupted(Exception):
  pass


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_interrupted_and_resumed_is_identical_byte_for_byte(whole, tmp_path, monkeypatch, seen):
  unbroken, _, _ = whole
  real = runs.fit

  def interrupted(*arguments, hooks, **options):
    left = iter(range(seen))

    def stop(step, state, metrics):
      del step, state, metrics
      if next(left) == seen - 1:
        raise _Interrupted

    return real(*arguments, hooks=[*hooks, stop], **options)

  monkeypatch.setattr(runs, "fit", interrupted)
  with pytest.raises(_Interrupted):
    run(build_sinusoid(), tmp_path)
  assert len(rows(tmp_path)) == seen and not (tmp_path / "test.json").exists()
  monkeypatch.setattr(runs, "fit", real)
  said, _ = run(build_sinusoid(), tmp_path)
  assert any("Resuming after step 4" in sentence for sentence in said) == (seen > 1)  # 4 is the first checkpoint
  assert_same(tmp_path, unbroken)


def assert_same(workdir, unbroken):
  for name in ("metrics.csv", "test.json"):
    assert (workdir / name).read_bytes() == (unbroken / name).read_bytes(), name
  for name, values in episodes(unbroken).items():
    np.testing.assert_array_equal(episodes(workdir)[name], values, strict=True)


@pytest.mark.parametrize("polls, saved", [((0, 3), [0, 3]), ((4, 1, 3), [4, 5, 8])])
def test_stopped_on_request_and_resumed_is_identical_byte_for_byte(whole, tmp_path, polls, saved):
  stopped_at = []
  for count in polls:
    with pytest.raises(Preempted, match="Stopped on request") as raised:
      run(build_sinusoid(), tmp_path, stop_requested=stop_after(count))
    stopped_at += [int(word) for word in str(raised.value).split() if word.isdigit()][:1] or [8]
    if stopped_at[-1]:
      with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps()[-1] == stopped_at[-1]
  assert stopped_at == saved and not (tmp_path / "test.json").exists()
  run(build_sinusoid(), tmp_path)
  assert_same(tmp_path, whole[0])


def test_a_run_resumes_on_another_number_of_devices(whole, tmp_path, monkeypatch):
  counts = (8, 4, 2, 1, 8)
  unbroken = runs.restore(build_sinusoid(), whole[0])
  for number, count in enumerate(counts):
    monkeypatch.setattr(session, "usable_devices", lambda tasks: usable_devices(tasks)[:count])
    last = number + 1 == len(counts)
    try:
      state = runs.train(build_sinusoid(), tmp_path, stop_requested=stop_after(100 if last else 1),
                               say=lambda _: None)
    except Preempted:
      assert not last
  assert len(jax.tree.leaves(state.params)[0].devices()) == counts[-1]
  assert int(state.step) == 8
  for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(unbroken.params), strict=True):
    np.testing.assert_allclose(jax.device_get(ours), jax.device_get(theirs), rtol=1e-5, atol=1e-6)
  for ours, theirs in zip(rows(tmp_path), rows(whole[0]), strict=True):
    assert ours["step"] == theirs["step"]
    np.testing.assert_allclose(float(ours["loss"]), float(theirs["loss"]), rtol=1e-4)


def test_what_is_kept_and_a_metric_that_is_not_measured(tmp_path):
  built = build_sinusoid(keep_newest=1, keep_every=6, keep_best="-val_loss", rows_per_checkpoint=1)
  check(built)
  runs.train(built, tmp_path, say=lambda _: None)
  losses = {int(row["step"]): float(row["val_loss"]) for row in rows(tmp_path)}
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert checkpoints.steps() == sorted({6, 8, min(losses, key=losses.get)})
  with pytest.raises(ValueError, match="keep_best='val_luck' is not measured; choose one of .*loss.*val_loss"):
    check(build_sinusoid(keep_best="val_luck"))


def test_the_best_checkpoint_is_tested(tmp_path):
  said, results = run(build_sinusoid(keep_best="-val_loss", rows_per_checkpoint=1), tmp_path)
  losses = {int(row["step"]): float(row["val_loss"]) for row in rows(tmp_path)}
  best = min(losses, key=losses.get)
  assert json.loads((tmp_path / "test.json").read_text())["step"] == best
  assert f"Testing the best checkpoint by -val_loss, that of step {best}." in said
  built = build_sinusoid(keep_best="-val_loss", rows_per_checkpoint=1)
  state = runs.restore(built, tmp_path, "best")
  assert int(state.step) == best and int(runs.restore(built, tmp_path).step) == 8
  again = runs.test(built, state.params, tmp_path, name="again", say=lambda _: None)
  np.testing.assert_array_equal(again["loss"].values, results["loss"].values)
  with pytest.raises(ValueError, match="'3' is not a checkpoint; choose best, last, or one of the steps .*8"):
    runs.restore(built, tmp_path, "3")
  with pytest.raises(ValueError, match="no best checkpoint"):
    runs.restore(build_sinusoid(), tmp_path, "best")


def test_a_run_without_a_checkpoint_says_that_it_starts_again(tmp_path, whole):
  (tmp_path / "metrics.csv").write_text("")  # left by a run that was killed before its first checkpoint
  said, _ = run(build_sinusoid(steps=4), tmp_path)
  assert f"No checkpoint yet in {tmp_path}; starting again from step 0." in said
  assert not any("No checkpoint yet" in each for each in whole[1])


def test_training_stops_early_and_stays_stopped(tmp_path):
  built = build_sinusoid(steps=40, keep_best="-val_loss", patience=2, rows_per_checkpoint=1, learning_rate=0.0)
  said, _ = run(built, tmp_path)  # nothing is learned, so the first validation stays the best
  assert [row["step"] for row in rows(tmp_path)] == ["2", "4", "6"]
  assert any(each.startswith("Stopped early after step 6: no better val_loss than") for each in said)
  before = (tmp_path / "metrics.csv").read_bytes()
  said, _ = run(built, tmp_path)
  assert (tmp_path / "metrics.csv").read_bytes() == before
  assert any("Stopped early after step 6" in each for each in said)
  with pytest.raises(ValueError, match="config.training.patience=2 needs a metric"):
    check(build_sinusoid(patience=2))


def test_a_longer_run_continues_a_shorter_one(whole, tmp_path):
  unbroken, _, _ = whole
  run(build_sinusoid(steps=4), tmp_path)
  run(build_sinusoid(steps=8), tmp_path)
  assert (tmp_path / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes()


def test_restore_gives_the_trained_state(whole, tmp_path):
  workdir, _, _ = whole
  state = runs.restore(build_sinusoid(), workdir)
  assert int(state.step) == 8
  again = runs.test(build_sinusoid(), state.params, tmp_path, name="again", say=lambda _: None)
  np.testing.assert_array_equal(again["loss"].values, episodes(workdir)["loss"])
  with pytest.raises(ValueError, match="has no checkpoint yet; train first"):
    runs.restore(build_sinusoid(), tmp_path)
  assert not (tmp_path / "checkpoints").exists()
