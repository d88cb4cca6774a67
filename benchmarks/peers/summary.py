"""Medians, ranges and ratios of interleaved windows, and their table."""

from importlib import metadata
import statistics
from typing import Any

from benchmarks import tables
from benchmarks.peers import PEERS

Entry = dict[str, Any]  # of a library that ran: seconds per task in each window, `wall` and `cpu`


def ratios(ours: Entry, other: Entry, clock: str = "wall") -> list[float]:
  """Returns the other's time divided by ours, for each window."""
  return [theirs / mine for theirs, mine in zip(other[clock], ours[clock])]


def best_of_each(ran: dict[str, Entry]) -> list[Entry]:
  """Returns each peer at its faster number of threads, the fastest peer first."""
  fastest: dict[str, Entry] = {}
  for entry in ran.values():
    peer = entry["peer"]
    if peer != "ours" and (peer not in fastest or _median(entry) < _median(fastest[peer])):
      fastest[peer] = entry
  return sorted(fastest.values(), key=_median)


def lines(kept: dict[str, Any]) -> list[str]:
  """Returns the table in Markdown."""
  rows = ["| workload | ours, tasks/s | best peer, tasks/s | ours / best peer | by CPU time "
          "| ours / other peers |", "| --- | --- | --- | --- | --- | --- |"]
  for name, result in kept["results"].items():
    peers = best_of_each(result["ran"])
    ours = result["ran"].get("ours")
    if ours is None or not peers:
      said = "; ".join(f"{side}: {why}" for side, why in result["failed"].items())
      rows.append(f"| {name} | {_rate(ours) if ours else ''} | {said} | | | |")
      continue
    best, others = peers[0], peers[1:]
    wall, cpu = ratios(ours, best), statistics.median(ratios(ours, best, "cpu"))
    rest = ", ".join(f"{_title(other)} {_number(statistics.median(ratios(ours, other)))}" for other in others)
    rows.append(f"| {name} | {_rate(ours)} | {_title(best)}: {_rate(best)} | **{statistics.median(wall):.2f}** "
                f"({min(wall):.2f} to {max(wall):.2f}) | {cpu:.2f} | {rest} |")
  known = ", ".join(f"{package} {version}" for package, version in kept["peers"].items())
  elsewhere: dict[str, list[str]] = {}
  for name, result in kept["results"].items():
    if result.get("machine", kept["machine"]) != kept["machine"]:
      elsewhere.setdefault(result["machine"], []).append(name)
  others = "".join(f" {', '.join(names)}: on {machine}." for machine, names in elsewhere.items())
  return [*rows, "", tables.machine(kept)[:-1] + f"; {known}.{others}"]


def versions() -> dict[str, str]:
  """Returns the versions of the peers' installed packages."""
  found = {}
  for package in dict.fromkeys(peer.package for peer in PEERS.values()):
    try:
      found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
      continue
  return found


def _median(entry: Entry) -> float:
  return statistics.median(entry["wall"])


def _rate(entry: Entry) -> str:
  median, low, high = (_number(1 / seconds) for seconds in (_median(entry), max(entry["wall"]), min(entry["wall"])))
  return f"{median} ({low} to {high})"


def _number(value: float) -> str:
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _title(entry: Entry) -> str:
  threads = f"{entry['threads']} thread{'s' if entry['threads'] > 1 else ''}"
  mark = "" if entry["agrees"] else ", **results differ**"
  return f"{PEERS[entry['peer']].title} ({threads}{mark})"
