"""docs/results.md is written from files only, and its rows can be run."""

import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import verdict
from benchmarks.verdict_rows import rows
from launch import arms, command_line
from launch.fields import check_setting
from tests.lab.reports.test_arms import results

_NAMES = [row.name for row in rows()]


@pytest.mark.parametrize("row", rows(), ids=_NAMES)
def test_a_row_can_be_run(row):
  given = dict(word.removeprefix("--").split("=", 1) for word in shlex.split(row.arguments))
  config = command_line.default_config(given.pop("config"))
  for field, value in given.items():
    if field.startswith("config."):
      check_setting(config, field.removeprefix("config."), value)
      config = arms.changed(config, {field.removeprefix("config."): arms.value_of(
          config, field.removeprefix("config."), value)})
  assert len(arms.parse(config, given["arms"])) >= 2 and int(given["seeds"]) >= 2
  own = command_line.own_sweeps(shlex.split(row.arguments)[0].partition("=")[2], config)
  sweeps = arms.parse_sweeps(config, "" if given.get("sweeps") == "none" else own)
  for shown in row.shown:
    assert not shown.field or shown.gains or shown.value in sweeps[shown.field]


def test_names_are_unique():
  assert len(set(_NAMES)) == len(_NAMES)


def test_a_name_is_of_one_row_and_the_beginning_of_names_of_several():
  assert [row.name for row in verdict.named("omniglot_maml")] == ["omniglot_maml"]  # not omniglot_maml_5w5s
  assert [row.name for row in verdict.named("lake")] == [name for name in _NAMES if name.startswith("lake_")]
  assert not verdict.named("nothing")


@pytest.fixture
def run(tmp_path):
  """The folder of a finished comparison, with the command of the row."""
  row = rows()[0]
  folder = tmp_path / row.name
  found = results()
  found["arms"]["both"] = found["arms"].pop("arm0")
  found["sweeps"] = {"test_shots": {"values": [5, 10], "gains": {}, "references": {}, "arms": {
      name: [arm["test"]] * 2 for name, arm in found["arms"].items()}}}
  found |= {"command": f"python -m launch.compare {row.arguments} --workdir=there"}
  for name, arm in found["arms"].items():
    arm["all_minutes"] = 1.5
    (folder / name).mkdir(parents=True)
    np.savez(folder / name / "arm.npz", **{"training/step": np.array([1]), "training/episodic_loss": np.ones((1, 2))})
  (folder / "results.json").write_text(json.dumps(found))
  return folder


def test_the_page(run, tmp_path):
  kept, page = tmp_path / "kept", tmp_path / "results.md"
  page.write_text("above\n<!-- table: python -m benchmarks.verdict -->\n<!-- end of table -->\nbelow\n")
  verdict.keep(run, kept)
  verdict.write(page, kept)
  text = page.read_text()
  assert text.startswith("above\n") and text.endswith("below\n")
  assert "| sinusoid_maml | 5 shots | none | .6771 ± .0377 | 1.00 ± 0.10 | 0.9 |  | 25 % | 5, 2, 1.5 |" in text
  assert "| sinusoid_maml | 10 shots | both | .0397 ± .0009 | 1.00 ± 0.10 | 0.9 | -0.100 ± 0.050 (p = 0.001) |" in text
  assert "amplitudes + 3 |" not in text  # was not run
  assert "both against none: better" in text and "trained for 5 steps instead of 70,000" in text
  assert f"`python -m launch.compare {rows()[0].arguments}`" in text
  assert "seeds reach it" not in text.partition("Not run")[0]
  assert "better than plain training: 1; worse: 0; no difference shown: 0." in text
  assert ("of 1 comparisons with plain training, ConML (both terms) is better in 1 (sinusoid_maml) and worse in 0. In "
          "0 the seeds show no difference. By chance alone, up to 0.1") in text
  assert "| sinusoid_maml | as published: cosine of the adapted weights | 1.00 ± 0.10 | both: -10.0 % |  |  |" in text
  assert ("- sinusoid_maml: ConML helps (-10.0 ± 5.0 % of plain training's loss). Published: -41.9 %, outside of that "
          "interval.") in text
  assert (kept / "verdict_sinusoid_maml_differences.png").read_bytes().startswith(b"\x89PNG")
  assert "results/verdict_sinusoid_maml_differences.png" in text and "(Not run yet.)" in text
  assert "sinusoid_fomaml" in text.partition("Not run yet: ")[2]


@pytest.mark.parametrize("mean, where", [(0.5, "5 shots."), (0.04, "5 shots, 5 shots, 5 steps"), (0.6, "")])
def test_tests_in_which_plain_training_exceeds_the_published_result_are_named(run, tmp_path, mean, where):
  found = json.loads((run / "results.json").read_text())
  for shot in found["sweeps"]["test_shots"]["arms"]["none"]:
    shot["loss"]["over_seeds"] = {"mean": mean, "interval": 0.1}
  found["sweeps"]["test_inner_steps"] = {**found["sweeps"]["test_shots"], "values": [5, 10]}
  (run / "results.json").write_text(json.dumps(found))
  page = tmp_path / "results.md"
  page.write_text("<!-- table: python -m benchmarks.verdict -->\n<!-- end of table -->\n")
  verdict.keep(run, tmp_path / "kept")
  verdict.write(page, tmp_path / "kept")
  said = page.read_text().partition("better than published by more than its interval: ")[2]
  assert said.startswith(where) and bool(said) == bool(where)


def test_a_search_appears_only_in_the_overview(run, tmp_path):
  row = next(row for row in rows() if not row.shown)
  found = json.loads((run / "results.json").read_text())
  found["arms"]["contrast.weight=10"] = found["arms"].pop("both")
  folder, kept, page = tmp_path / row.name, tmp_path / "kept", tmp_path / "results.md"
  folder.mkdir()
  (folder / "results.json").write_text(json.dumps({**found, "command": f"python -m launch.compare {row.arguments}"}))
  page.write_text("<!-- table: python -m benchmarks.verdict -->\n<!-- end of table -->\n")
  verdict.keep(folder, kept)
  verdict.write(page, kept)
  text = page.read_text()
  assert f"| {row.name} | {row.setting} | 1.00 ± 0.10 | λ = 10: -10.0 % |  |  |" in text
  assert "paired difference" not in text and "png" not in text and row.arguments in text


def test_another_comparison_is_not_kept(run, tmp_path):
  found = json.loads((run / "results.json").read_text())
  (run / "results.json").write_text(json.dumps({**found, "command": found["command"].replace("=8", "=3")}))
  with pytest.raises(ValueError, match="lacks --seeds=8"):
    verdict.keep(run, tmp_path / "kept")
  with pytest.raises(ValueError, match="no row is called"):
    verdict.keep(tmp_path, tmp_path / "kept")


def test_an_interrupted_row_reports_its_progress_and_exit_code(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  state = lambda: (verdict.main(["--list"]), capsys.readouterr().out.splitlines()[0])[1]
  assert f"{_NAMES[0]} " in state() and " missing " in state()
  arm = tmp_path / "runs" / "verdict" / _NAMES[0] / "none"
  arm.mkdir(parents=True)
  assert " begun " in state()
  (arm / "arm.npz").touch()
  assert " arms done: 1 " in state()
  asked = []
  monkeypatch.setattr(verdict.subprocess, "run", lambda command, check: asked.append(command) or SimpleNamespace(
      returncode=75))  # preempted
  with pytest.raises(SystemExit) as stopped:
    verdict.main([f"--only={_NAMES[0]}"])
  assert stopped.value.code == 75 and len(asked) == 1
  assert asked[0][-1] == f"--workdir=runs/verdict/{_NAMES[0]}" and shlex.split(rows()[0].arguments)[0] in asked[0]


def test_the_list_of_rows(capsys):
  verdict.main(["--list"])
  assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == _NAMES
  with pytest.raises(SystemExit):
    verdict.main(["--only=nothing"])
