"""A launcher refuses what every process would refuse, with the same sentence, before it starts anything."""

import json
import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

from launch import pod_checks

_ROOT = Path(__file__).parents[2]
_ALONE = "--hosts=localhost:1,1,0"

# Commands that the processes refuse, with the words of their sentence.
_REFUSED = {
    "no such recipe": (["launch.train", "--config=omniglott"], "omniglott does not exist"),
    "no such learner": (["launch.train", "--config=sinusoid:mamba"], "learner='mamba'"),
    "no such field": (["launch.train", "--config.shot=3"], "did you mean config.shots"),
    "not a number": (["launch.train", "--config.training.steps=many"], "config.training.steps='many'"),
    "no such flag": (["launch.train", "--workdirs=x"], "Did you mean: workdir"),
    "a stray word": (["launch.train", "now"], "unexpected argument 'now'"),
    "not a number of episodes": (["launch.evaluate", "--workdir=x", "--episodes=1"], "episodes=1"),
    "nothing to test": (["launch.evaluate"], "--workdir is missing"),
    "nothing to replay": (["launch.replay", "--workdir=x"], "--workdir and --step"),
    "one process only": (["launch.recipes", _ALONE], "runs in one process, so --hosts"),
}
# Commands that a process would not refuse by itself; but a pod would lose its results, or its first step would fail.
_IN_PODS = {
    "no workdir": (["launch.train"], {"needs_workdir": True}, "--workdir is missing, and by default each machine"),
    "a workdir in a container": (["launch.train", "--workdir=/runs"], {"shared": ["/shared"]}, "below /shared"),
    "a workdir beside a volume": (["launch.train", "--workdir=/shared/../a"], {"shared": ["/shared"]}, "below /shared"),
    "a workdir without a volume": (["launch.train", "--workdir=a"], {"shared": []}, "--volume=<claim>:<path>"),
    "a test without a volume": (["launch.evaluate", "--workdir=a"], {"shared": []}, "--volume=<claim>:<path>"),
    "too few tasks": (["launch.train", "--config.training.tasks_per_step=9"], {"processes": 2}, "use a multiple of 2."),
    "a name that is no text": (["launch.train", "--workdir=a\udce9"], {}, "is not UTF-8 text"),
}
_ALLOWED = {
    "all defaults": (["launch.train"], {"processes": 2}),
    "a workdir on a volume": (["launch.train", "--workdir=/shared/a"], {"shared": ["/shared/"], "needs_workdir": True}),
    "a workdir in a bucket": (["launch.train", "--workdir=gs://b/a"], {"shared": [], "needs_workdir": True}),
    "a dry run": (["launch.train", "--dry_run"], {"processes": 3, "needs_workdir": True}),
    "data that are not here": (["launch.train", "--config=omniglot:maml", "--workdir=/s/a"], {}),
    "a test with other settings": (["launch.evaluate", "--workdir=/s/a", "--config.shots=3"], {"processes": 3}),
}
# What each launcher needs besides a command.
_LAUNCHERS = {"local_pod": [], "on_slurm": ["--nodes=2"], "on_hosts": ["--hosts_list=a,b"],
              "on_tpu": ["--name=t", "--zone=z"], "on_kubernetes": ["--image=i", "--volume=c:/s", "--processes=2"]}


def _forks(commands, folder):
  """Returns the results of commands, each a module and its arguments."""
  cases = [{"module": module, "arguments": arguments, "folder": str(folder)} for module, arguments in commands]
  # No program of a cluster can be found, so that nothing is submitted.
  environment = {**os.environ, "PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu", "METAJAX_CACHE_DIR": str(folder / "c"),
                 "METAJAX_DATA_DIR": str(folder / "none"), "PATH": ""}
  done = subprocess.run([sys.executable, "-m", "tests.launch.forks"], input=json.dumps(cases), capture_output=True,
                        text=True, cwd=_ROOT, env=environment, timeout=300)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def _parse(words, processes=None, shared=None, needs_workdir=False):
  return "tests.launch.pod_parse", [json.dumps({"words": [word for word in words if word != _ALONE], "shared": shared,
                                                "processes": processes, "needs_workdir": needs_workdir})]


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
  """The result of each case, and for those that processes refuse, that of a process."""
  names = [*_REFUSED, *_IN_PODS, *_ALLOWED]
  commands = [_parse(words) for words, _ in _REFUSED.values()]
  commands += [_parse(words, **settings) for words, settings, *_ in [*_IN_PODS.values(), *_ALLOWED.values()]]
  runs = [(words[0], words[1:]) for words, _ in _REFUSED.values()]
  results = _forks(commands + runs, tmp_path_factory.mktemp("parsed"))
  return dict(zip(names, results)), dict(zip(_REFUSED, results[len(names):]))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", _REFUSED)
def test_the_sentence_is_that_of_the_processes(parsed, name):
  here, there = (results[name] for results in parsed)
  assert here["code"] == 2 and re.fullmatch(r"error: .+[.?]\n", here["err"]), here
  assert _REFUSED[name][1] in here["err"] and here["err"] == there["err"]


@pytest.mark.bad_input
@pytest.mark.parametrize("name", _IN_PODS)
def test_what_is_refused_in_pods(parsed, name):
  result = parsed[0][name]
  assert result["code"] == 2 and re.fullmatch(r"error: .+[.?]\n", result["err"]), result
  assert _IN_PODS[name][2] in result["err"]


@pytest.mark.parametrize("name", _ALLOWED)
def test_what_is_allowed_runs_nothing(parsed, name):
  result = parsed[0][name]
  assert result["code"] == 0 and not result["out"] and not result["files"], result


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
  """The results of each launcher: a command with an error, the same with --dry_run, one without, and bad flags."""
  tail = ["--", "launch.train", "--workdir=/s/run"]
  commands = []
  for name, own in _LAUNCHERS.items():
    bad, good, unknown = ([*own, *tail, "--config.shot=3"], [*own, "--dry_run", "--env=A=$(b) 'c'", *tail],
                          [*own, "--envs=A=1", *tail])
    dry, undefined, twice = ([*own, "--dry_run", *bad[len(own):]], [*own, "--env=NO_VALUE_HERE", *tail],
                             [*own, *tail, "--hosts=auto"])
    commands += [(f"launch.{name}", each) for each in (bad, dry, good, unknown, undefined, twice)]
  results = _forks(commands, tmp_path_factory.mktemp("launched"))
  return {name: results[6 * index:6 * index + 6] for index, name in enumerate(_LAUNCHERS)}


@pytest.mark.bad_input
@pytest.mark.parametrize("launcher", _LAUNCHERS)
def test_every_launcher_refuses_before_it_starts_anything(launched, launcher):
  bad, dry, good, unknown, undefined, twice = launched[launcher]
  assert dry["code"] == 2 and dry["err"] == "error: config.shot is not a field of this recipe; did you mean " \
      "config.shots?\n", dry
  assert (bad["code"], bad["err"], bad["out"]) == (2, dry["err"], "")
  assert good["code"] == 0 and "launch.train" in good["out"] and "--workdir=/s/run" in good["out"], good
  assert not good["files"]
  for result, words in ((unknown, "Did you mean: env"), (undefined, "NO_VALUE_HERE is not set here"),
                        (twice, "has --hosts=auto")):
    assert result["code"] == 2 and words in result["err"] and re.fullmatch(r"error: .+\.\n", result["err"]), result


@pytest.mark.bad_input
@pytest.mark.parametrize("words, sentence", [
    (["launch.trian"], "no module launch.trian on this machine; did you mean launch.train?"),
    (["train"], "no module train on this machine; did you mean launch.train?"),
    (["launch"], "no module launch on this machine; "), (["no.such.module"], "no module no.such.module "),
    (["..odd"], "no module ..odd "), (["launch.on_slurm", "x"], "launch.on_slurm is a launcher"),
    (["launch.train", "--help"], "python -m launch.train --help")])
def test_what_is_no_command_of_a_pod(words, sentence):
  with pytest.raises(ValueError, match=re.escape(sentence)):
    pod_checks.check(words)


def test_a_module_of_ones_own_need_only_exist():
  pod_checks.check(["tests.launch.pod_parse", "--whatever"])


@pytest.mark.bad_input
def test_a_recipe_that_fails_is_reported_in_one_sentence(tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(_ROOT))
  (tmp_path / "mine.py").write_text("def get_config():\n  return 1 / 0\n\n\ndef build(config):\n  pass\n")
  with pytest.raises(ValueError, match="python -m launch.train fails on this machine already: ZeroDivisionError: "):
    pod_checks.check(["launch.train", f"--config={tmp_path / 'mine.py'}"])
