"""Timing of peers: their descriptions, the worker's answers, and the ratios. No peer needs to be installed."""

import importlib.util

import pytest

from benchmarks.peers import PEERS, __main__, summary
from benchmarks.peers.side import Side
from benchmarks.workloads import WORKLOADS


def _entry(peer, threads, wall, **changes):
  return {"peer": peer, "threads": threads, "wall": wall, "cpu": wall, "agrees": True, "loss": 1.0,
          "gradient_norm": 2.0, **changes}


def test_every_peer_has_a_module_and_workloads_that_exist():
  for name, peer in PEERS.items():
    assert importlib.util.find_spec(f"benchmarks.peers.{name}") is not None
    assert peer.workloads and set(peer.workloads) <= set(WORKLOADS)


def test_every_workload_has_a_peer():
  assert set(WORKLOADS) == {name for peer in PEERS.values() for name in peer.workloads}


def test_a_peer_counts_at_its_better_number_of_threads_and_ratios_are_taken_window_by_window():
  ours = _entry("ours", 2, [1.0, 2.0, 1.0])
  slow, fast = _entry("higher", 1, [9.0, 9.0, 9.0]), _entry("higher", 2, [3.0, 8.0, 4.0])
  best = _entry("learn2learn", 1, [2.0, 3.0, 2.5], agrees=False)
  ran = {str(i): entry for i, entry in enumerate((ours, slow, fast, best))}
  assert summary.best_of_each(ran) == [best, fast]
  assert summary.ratios(ours, best) == [2.0, 1.5, 2.5]
  row = summary.lines({"results": {"W2s": {"ran": {**ran, "ours": ours}, "failed": {}}}, "peers": {}, "command": "c",
                       "machine": "m", "versions": {"jax": "1", "flax": "2"}})[2]
  assert "**2.00** (1.50 to 2.50)" in row and "results differ" in row and "higher (2 threads) 4 |" in row


def test_rows_of_another_machine_say_so():
  ran = {"ours": _entry("ours", 2, [1.0]), "other": _entry("higher", 2, [2.0])}
  rows = {name: {"ran": ran, "failed": {}, "machine": machine} for name, machine in (("W1", "old"), ("W2s", "new"))}
  below = summary.lines({"results": rows, "peers": {"torch": "3"}, "command": "c", "machine": "new",
                         "versions": {"jax": "1", "flax": "2"}})[-1]
  assert below == "`c`, on new, jax 1, flax 2; torch 3. W1: on old."


@pytest.mark.parametrize("change, same", [({}, True), ({"loss": 1.00009}, True), ({"loss": 1.0002}, False),
                                          ({"gradient_norm": 2.001}, True), ({"gradient_norm": 2.01}, False),
                                          ({"loss": float("nan")}, False)])
def test_sides_agree_but_for_rounding(change, same):
  assert __main__.agrees(_entry("higher", 1, [], **change), _entry("ours", 2, [])) is same


def test_a_worker_reports_its_first_loss_and_runs_on_request():
  with Side("ours", "W1", 2) as side:
    first = side.answer(120)
    assert first["loss"] > 0 and first["gradient_norm"] > 0 and first["tasks_per_call"] % WORKLOADS["W1"].tasks == 0
    window = side.run(0.01, 120)
    assert window["calls"] >= 1 and window["wall"] >= 0.01 and window["cpu"] > 0


def test_a_side_that_cannot_be_built_says_why():
  with Side("ours", "no such workload", 2) as side:
    assert "no such workload" in side.answer(60)["failed"]


def test_a_side_that_is_not_ready_in_time_is_reported():
  with Side("ours", "W1", 2) as side:
    assert side.answer(0.01) == {"failed": "not ready within 0.01 s"}
