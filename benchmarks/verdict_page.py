"""The tables and sentences of docs/results.md, generated from the stored results of finished comparisons."""

import re
from typing import Any, Iterator, Mapping, Sequence

from benchmarks.verdict_rows import Row, Shown
from metajax.lab.reports.judgement import SURE, in_proportion, judge, main_measure, reaching, verdicts, with_interval

Kept = Mapping[str, Any]  # results of a comparison, as written by `metajax.lab.compare.compare`, and the machine
_JUDGED = ("better", "no difference", "worse", "nothing")
_WORDS = {"better": "ConML helps", "worse": "ConML harms", "nothing": "the comparison is inconclusive",
          "no difference": "these seeds show no difference"}
_LAMBDA = "contrast.weight="


def section(kept: Mapping[Row, Kept], pictures: Mapping[Row, Sequence[str]]) -> list[str]:
  """Returns the lines on the finished comparisons of a section.

  Args:
    kept: the results of each comparison; at least one.
    pictures: for each comparison, the names of its figures in docs/results.
  """
  lines = [*_overview(kept)]
  told = {row: results for row, results in kept.items() if row.shown}
  if told:
    lines += ["", *_tests(told), *_models(told)]
  for row, results in kept.items():
    said = " ".join([*verdicts(results), _remark(row, results)]).strip() + " " if row.shown else ""
    lines += ["", f"**{row.name}**: `{results['command']}`. {results['notes']} {said}{minutes(results):.1f} minutes on "
              f"{results['machine']}, jax {results['versions']['jax']}."]
    lines += [f"\n![{row.name}]({picture})" for picture in pictures.get(row, ())]
  return lines


def in_all(kept: Mapping[Row, Kept]) -> str:
  """Returns the first sentence of the page: the outcome of all comparisons except the searches."""
  found = {row.name: judge(results)["both"] for row, results in kept.items()
           if row.shown and "both" in results["arms"]}

  def told(word):
    names = [name for name, judged in found.items() if judged == word]
    return f"{len(names)} ({', '.join(names)})" if names else "0"

  others = sum(judged not in ("better", "worse") for judged in found.values())
  return (f"**In all**: of {len(found)} comparisons with plain training, ConML (both terms) is better in "
          f"{told('better')} and worse in {told('worse')}. In {others} the seeds show no difference. "
          f"By chance alone, up to {len(found) * SURE:.1f} would be called better or worse.")


def minutes(results: Kept) -> float:
  """Returns how long all arms took, including tests."""
  return sum(arm["all_minutes"] for arm in results["arms"].values())


def _overview(kept: Mapping[Row, Kept]) -> Iterator[str]:
  """Yields the overview: in which comparisons each arm is better or worse."""
  counts = dict.fromkeys(_JUDGED, 0)
  lines = []
  for row, results in kept.items():
    judged, measure = judge(results), main_measure(results)
    for word in judged.values():
      counts[word] += 1
    cells = [", ".join(_in_short(results, arm) for arm, word in judged.items() if word == column)
             for column in _JUDGED[:3]]
    first = results["arms"][results["reference"]]["test"][measure]["over_seeds"]
    lines.append(f"| {row.name} | {row.setting} | {_value(first, measure)} | {' | '.join(cells)} "
                 f"| {results['steps']:,}, {len(results['seeds'])} |")
  yield (f"**Does it help?** Comparisons: {len(kept)}. Arms better than plain training: {counts['better']}; "
         f"worse: {counts['worse']}; no difference shown: {counts['no difference']}"
         + (f"; inconclusive: {counts['nothing']}" if counts["nothing"] else "") + ". Changes in per cent of plain "
         "training's result:")
  yield from ("", "| comparison | setting | plain | better | no difference shown | worse | steps, seeds |",
              "| --- | --- | --- | --- | --- | --- | --- |", *lines)
  yield ""
  yield from (_in_words(row, results) for row, results in kept.items()
              if row.shown and "both" in results["arms"])


def _in_words(row: Row, results: Kept) -> str:
  """Says whether ConML (both terms) helps in the recipe's own test, and whether this agrees with the published gain."""
  measure = main_measure(results)
  plain = results["arms"][results["reference"]]["test"][measure]["over_seeds"]["mean"]
  gap = results["arms"]["both"]["test"][measure]["difference"]["over_seeds"]
  said = f"- {row.name}: {_WORDS[judge(results)['both']]}"
  if not plain or gap["mean"] is None or gap["interval"] is None:
    return f"{said}."
  said += f" ({with_interval(gap, scale=100 / plain, sign=True)} % of plain training's {measure})"
  published = _published_gain(row)
  if published is None:
    return f"{said}."
  inside = abs(plain * published - gap["mean"]) <= gap["interval"]
  return f"{said}. Published: {100 * published:+.1f} %, {'within' if inside else 'outside of'} that interval."


def _tests(kept: Mapping[Row, Kept]) -> Iterator[str]:
  yield ("| comparison | tested | arm | published | here, ± over seeds | median | paired difference from the first arm "
         "| diverged | steps, seeds, minutes |")
  yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
  for row, results in kept.items():
    for shown in row.shown:
      for arm in results["arms"]:
        yield from _gains(row, shown, results, arm) if shown.gains else _test(row, shown, results, arm)


def _test(row: Row, shown: Shown, results: Kept, arm: str) -> Iterator[str]:
  test = _tested(shown, results, arm)
  if test is None:
    return
  measure = main_measure(results)
  value, gap = test[measure], test[measure].get("difference")
  difference = ""
  if gap:
    difference = _value(gap["over_seeds"], measure, sign=True) + (
        "" if gap["p_value"] is None else f" (p = {gap['p_value']:.2g})")
  published = shown.plain if arm == results["reference"] else shown.conml if arm == "both" else ""
  middle = _value({"mean": value["median"], "interval": None}, measure)
  yield (f"| {row.name} | {shown.tested} | {arm} | {published} | {_value(value['over_seeds'], measure)} | {middle} "
         f"| {difference} | {100 * value['diverged']:.2g} % | {results['steps']:,}, {len(results['seeds'])}, "
         f"{results['arms'][arm]['all_minutes']:.1f} |")


def _gains(row: Row, shown: Shown, results: Kept, arm: str) -> Iterator[str]:
  swept = results["sweeps"].get(shown.field)
  gains = swept["gains"].get(arm) if swept else None
  if not gains:
    return
  there, seeds = reaching(swept, arm, results["reference"]), len(results["seeds"])
  published = shown.conml if arm == "both" else ""
  yield (f"| {row.name} | {shown.tested}: lowest error relative to plain; extra examples to reach plain's "
         f"lowest error | {arm} | {published} | {with_interval(gains['relative_minimum'])}; "
         f"{with_interval(gains['spared'], sign=True)} ({there} of {seeds} seeds reach it) | | | | |")


def _models(kept: Mapping[Row, Kept]) -> Iterator[str]:
  """Yields the table of distances between models of unseen tasks, if these were measured."""
  lines = []
  for row, results in kept.items():
    for arm, own in results["arms"].items():
      if own["models"]:
        place = 0 if arm == results["reference"] else 1 if arm == "both" else None
        known = ["", ""] if place is None else [row.published_models[place], row.published_models[2 + place]]
        cells = [with_interval(own["models"][name]) for name in ("d_in", "d_out", "silhouette", "calinski_harabasz")]
        lines.append(f"| {row.name} | {arm} | {cells[0]} | {cells[1]} | {known[0]} | {cells[2]} | {known[1]} "
                     f"| {cells[3]} |")
  if lines:
    yield from ("", "Models of unseen tasks, ten subsets of each:", "",
                "| comparison | arm | d_in | d_out | silhouette, published | here | Calinski-Harabasz, published "
                "| here |", "| --- | --- | --- | --- | --- | --- | --- | --- |", *lines)


def _tested(shown: Shown, results: Kept, arm: str) -> Mapping[str, Any] | None:
  """Returns the results of an arm in the shown test, if it was run."""
  if not shown.field:
    return results["arms"][arm]["test"]
  swept = results["sweeps"].get(shown.field)
  if swept is None or shown.value not in swept["values"]:
    return None
  return swept["arms"][arm][swept["values"].index(shown.value)]


def _remark(row: Row, results: Kept) -> str:
  said = [row.remark] if row.remark else []
  if results["steps"] < row.published_steps:
    said.insert(0, f"trained for {results['steps']:,} steps instead of {row.published_steps:,}")
  beaten = [shown.tested for shown in row.shown if _is_beaten(shown, results)]
  if beaten:
    said.append(f"plain training here is better than published by more than its interval: {', '.join(beaten)}")
  return f"Compared with the publication: {'; '.join(said)}." if said else ""


def _is_beaten(shown: Shown, results: Kept) -> bool:
  """Returns whether plain training's whole interval is better than the published number, if there is one."""
  test, measure = _tested(shown, results, results["reference"]), main_measure(results)
  if shown.gains or not shown.plain or test is None or None in (ours := test[measure]["over_seeds"]).values():
    return False
  published = _first_number(shown.plain) / (100 if measure == "accuracy" else 1)
  gap = ours["mean"] - published
  return (-gap if measure == "loss" else gap) > ours["interval"]


def _first_number(words: str) -> float:
  return float(re.findall(r"\d*\.?\d+", words)[0])


def _in_short(results: Kept, arm: str) -> str:
  name = arm.replace(_LAMBDA, "λ = ")
  return f"{name}: {in_proportion(results['arms'], arm, results['reference'], main_measure(results))}"


def _published_gain(row: Row) -> float | None:
  """Returns the published relative change by ConML in the first test, if both numbers were published."""
  first = row.shown[0]
  if first.gains or not (first.plain and first.conml):
    return None
  return _first_number(first.conml) / _first_number(first.plain) - 1


def _value(value: Mapping[str, Any], measure: str, sign: bool = False) -> str:
  if measure == "accuracy":
    return f"{with_interval(value, scale=100.0, sign=sign)} %"
  return with_interval(value, sign=sign)
