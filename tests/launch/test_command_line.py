"""Every user error ends in one sentence and exit code 2, and leaves the disk unchanged."""

import importlib.util
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

import pytest

from metajax.lab import workdir

_ROOT = Path(__file__).parents[2]
_SINUSOID, _LEARNERS, _IMAGES = "--config=sinusoid_maml", "--config=sinusoid", "--config=omniglot:protonet_cosine"
_GLYPHS = ["--config=quickstart", "--config.data=glyphs"]
_TINY = ["--config.hidden=(4,)", "--config.training.steps=2", "--config.training.steps_per_row=1",
         "--config.training.tasks_per_step=2", "--config.training.steps_per_dispatch=1", "--config.test.episodes=2",
         "--config.test.val_episodes=2"]
_needs_fonts = pytest.mark.skipif(
    importlib.util.find_spec("fontpkg_roboto") is None, reason="command lines on glyphs go UNTESTED: no fonts; run "
    'pip install "metajax[glyphs]".')

# The arguments of launch.train, and what the error message must contain.
_BAD = {
    "unknown field": ([_SINUSOID, "--config.shot=3"], ["config.shot ", "did you mean", "config.shots"]),
    "unknown field of the default recipe": (["--config.steps=3"], ["config.steps ", "config.training.steps"]),
    "nothing like it": ([_SINUSOID, "--config.zzzz=3"], ["config.zzzz ", "; there are ", " learner, seed, shots"]),
    "unknown nested field": ([_SINUSOID, "--config.training.step=3"], ["config.training.step ",
                                                                      "config.training.steps"]),
    "a meta-batch": (["--config.meta_batch=1"], ["config.meta_batch ", "config.training.tasks_per_step"]),
    "a step": (["--config.step=3"], ["did you mean config.training.steps"]),
    "a learning rate": (["--config.lr=3"], ["did you mean config.training.learning_rate"]),
    "a field of a group without it": (["--config.weigth=3"], ["config.contrast.weight"]),
    "field of a number": ([_SINUSOID, "--config.seed.x=3"], ["config.seed.x "]),
    "not an int": ([_SINUSOID, "--config.shots=ten"], ["config.shots='ten'", "int", "default is 10"]),
    "a float for an int": ([_SINUSOID, "--config.shots=1.5"], ["config.shots='1.5'", "int"]),
    "an int too large for C": ([_SINUSOID, "--config.seed=99999999999999999999"], ["config.seed=", "int"]),
    "not a float": ([_SINUSOID, "--config.inner_rate=fast"], ["config.inner_rate='fast'", "float", "0.01"]),
    "not a bool": ([_SINUSOID, "--config.conml=maybe"], ["config.conml='maybe'", "bool", "True"]),
    "not a tuple of ints": ([_SINUSOID, "--config.hidden=wide"], ["config.hidden='wide'", "tuple of int", "(40, 40)"]),
    "a tuple of floats": ([_SINUSOID, "--config.hidden=(1.5,)"], ["config.hidden='(1.5,)'", "tuple of int"]),
    "an unclosed tuple": ([_SINUSOID, "--config.hidden=(40,"], ["config.hidden='(40,'", "tuple of int"]),
    "no value": ([_SINUSOID, "--config.shots"], ["config.shots needs a value", "<int>"]),
    "a value after a space": ([_SINUSOID, "--config.conml", "False"], ["config.conml needs a value", "<bool>"]),
    "switched off by no": ([_SINUSOID, "--noconfig.conml"], ["--noconfig.conml", "--config.conml=False"]),
    "a group": ([_SINUSOID, "--config.training=3"], ["config.training is a group", "config.training.steps"]),
    "no recipe named": (["--config"], ["--config needs a value"]),
    "no such recipe": (["--config=none.py"], ["none.py does not exist"]),
    "no such recipe at a former path": (["--config=experiments/none.py"], ["none.py does not exist", "sinusoid_maml"]),
    "a misspelt recipe": (["--config=sinusiod:ridge"], ["sinusiod does not exist; did you mean sinusoid or "]),
    "a misspelt file": (["--config={folder}/need.py"], ["need.py does not exist; did you mean ", "/needs.py?"]),
    "a bare name with an ending": (["--config=omniglot.py"], ["omniglot.py does not exist in ", "mean omniglot or "]),
    "not a recipe": ([f"--config={_ROOT}/experiments/settings.py"], ["settings.py is not a recipe", "get_config()"]),
    "an argument that is not": ([f"{_LEARNERS}:mamba"], ["learner='mamba'", "maml, fomaml"]),
    "an argument that is empty": ([f"{_LEARNERS}:"], ["learner=''", "maml, fomaml"]),
    "an argument too few": (["--config={folder}/needs.py"], ["needs.py needs an argument", "needs.py:<argument>"]),
    "an argument given as a field": ([_LEARNERS, "--config.learner=ridge"], ["is chosen", "sinusoid:ridge"]),
    "another learner than the recipe's": ([_SINUSOID, "--config.learner=ridge"], ["only for maml", "=sinusoid:ridge"]),
    "an argument too many": ([_SINUSOID + ":ridge"], ["takes no argument", "'ridge'"]),
    "a field of another learner": ([f"{_LEARNERS}:ridge", "--config.inner_rate=0.1"],
                                   ["config.inner_rate=0.1", "ridge"]),
    "no such recipe for an argument": (["--config=none.py:ridge"], ["none.py does not exist"]),
    "strength of zero": ([f"{_LEARNERS}:imaml", "--config.strength=0"], ["config.strength=0.0", "positive"]),
    "no solver": ([f"{_LEARNERS}:imaml", "--config.solver_steps=0"], ["config.solver_steps=0", "1 or more"]),
    "non-finite inner rate": ([_SINUSOID, "--config.inner_rate=nan"], ["config.inner_rate=nan", "0 or more"]),
    "unknown size": ([f"{_LEARNERS}:in_context", "--config.size=huge"], ["config.size='huge'", "tiny, small"]),
    "weights that do not move": ([f"{_LEARNERS}:ridge", "--config.psi=change"], ["config.psi=change", "ridge"]),
    "unknown psi": ([_SINUSOID, "--config.psi=outputs"], ["config.psi='outputs'", "weights, change"]),
    "Reptile with views": ([f"{_LEARNERS}:reptile", "--config.contrast.views=halves"],
                           ["config.contrast.views=halves", "reptile", "support"]),
    "one training way": ([_IMAGES, "--config.train_ways=1"], ["config.train_ways=1", "2 or more"]),
    "a temperature of zero": ([_IMAGES, "--config.temperature=0"], ["config.temperature=0.0", "positive"]),
    "automatic choice of data": ([_IMAGES, "--config.data=auto"], ["config.data='auto'", "omniglot, glyphs"]),
    "a recipe after its settings": (["--config.shots=3", _SINUSOID], ["--config must come before", "config.shots"]),
    "unknown flag": ([_SINUSOID, "--workdirs=x"], ["workdirs", "workdir"]),
    "bad verbosity": ([_SINUSOID, "--verbosity=loud"], ["verbosity", "loud"]),
    "stray argument": ([_SINUSOID, "now"], ["'now'", "--config.<field>=<value>"]),
    "no shots": ([_SINUSOID, "--config.shots=0"], ["config.shots=0", "1 or more"]),
    "negative inner steps": ([_SINUSOID, "--config.inner_steps=-1"], ["config.inner_steps=-1", "0 or more"]),
    "negative width": ([_SINUSOID, "--config.hidden=(40, -1)"], ["config.hidden=(40, -1)", "1 or more"]),
    "negative steps": ([_SINUSOID, "--config.training.steps=-5"], ["config.training.steps=-5", "1 or more"]),
    "non-finite rate": ([_SINUSOID, "--config.training.learning_rate=nan"], ["learning_rate=nan", "0 or more"]),
    "one episode": ([_SINUSOID, "--config.test.episodes=1"], ["config.test.episodes=1", "2 or more"]),
    "one task": ([_SINUSOID, "--config.training.tasks_per_step=1"], ["config.training.tasks_per_step=1", "at least 2",
                                                                    "config.contrast.discriminate=False"]),
    "no term": ([_SINUSOID, "--config.contrast.align=False", "--config.contrast.discriminate=False"],
                ["config.contrast.align", "config.contrast.discriminate", "config.conml=False"]),
    "unknown distance": ([_SINUSOID, "--config.contrast.distance=euclid"], ["config.contrast.distance='euclid'",
                                                                           "cosine, squared_euclidean"]),
    "unknown views": ([_SINUSOID, "--config.contrast.views=all"], ["config.contrast.views='all'", "support, halves"]),
    "views larger than the task": ([_SINUSOID, "--config.contrast.views=subsets", "--config.contrast.view_size=99"],
                                   ["view of 99", "20"]),
    "no views": ([_SINUSOID, "--config.contrast.num_views=0"], ["config.contrast.num_views=0", "1 or more"]),
    "a workdir that is a file": ([_SINUSOID, "--workdir={folder}/a_file"], ["a_file is a file"]),
    "a workdir that is not one": ([_SINUSOID, "--workdir={folder}/full"], ["holds files but no run", "run.json"]),
    "a workdir below a file": ([_SINUSOID, "--workdir={folder}/a_file/below"], ["a_file/below", "cannot be written"]),
    "a workdir of another config": ([_SINUSOID, *_TINY, "--config.shots=3", "--workdir={folder}/taken"],
                                    ["belongs to another run", "config.shots was 10 and is now 3"]),
    "a fork of nothing": ([_SINUSOID, "--fork={folder}/none", "--workdir={folder}/forked"], ["none holds no run"]),
    "a fork of a run without a checkpoint": ([_SINUSOID, "--fork={folder}/taken", "--workdir={folder}/forked"],
                                             ["taken has no checkpoint yet to fork from"]),
    "a fork onto something": ([_SINUSOID, "--fork={folder}/taken", "--workdir={folder}/full"], ["full is not empty"]),
    "best by an unknown metric": ([_SINUSOID, "--config.training.keep_best=luck"], ["keep_best='luck'", "val_loss"]),
    "nothing kept": ([_SINUSOID, "--config.training.keep_newest=0"], ["config.training.keep_newest=0", "1 or more"]),
    "a negative norm": ([_SINUSOID, "--config.training.clip_gradient=-1"], ["clip_gradient=-1.0", "0 or more"]),
    "unknown data": ([*_GLYPHS[:1], "--config.data=mnist"], ["config.data='mnist'", "omniglot, glyphs, cifar-fs"]),
    "unknown norm": ([*_GLYPHS, "--config.norm=layer"], ["config.norm='layer'", "batch, running, group, none"]),
    "one way": ([*_GLYPHS, "--config.ways=1"], ["config.ways=1", "2 or more"]),
    "negative filters": ([*_GLYPHS, "--config.filters=-4"], ["config.filters=-4", "1 or more"]),
    "more ways than classes": ([*_GLYPHS, "--config.ways=3000"], ["ways=3000", "available classes", "or fewer"]),
    "more examples than a class has": ([*_GLYPHS, "--config.shots=10", "--config.queries=11"],
                                       ["shots=10", "queries=11", "21", "20 or fewer"]),
}

_EVALUATE = {
    "no workdir": ([], ["--workdir is missing"]),
    "no such workdir": (["--workdir={folder}/none"], ["none holds no run", "run.json"]),
    "empty workdir": (["--workdir={folder}/empty"], ["empty holds no run"]),
    "a run without a checkpoint": (["--workdir={folder}/taken"], ["taken has no checkpoint yet"]),
    "a damaged run": (["--workdir={folder}/torn"], ["run.json is damaged"]),
    "a run of another version": (["--workdir={folder}/old"], ["config.test.lists is not a field", "test.seed"]),
    "data that have changed": (["--workdir={folder}/elsewhere"], ["elsewhere have changed", "digest was sha256:0"]),
    "a setting of training": (["--workdir={folder}/taken", "--config.seed=1"], ["config.seed", "training"]),
    "a setting of the outer loop": (["--workdir={folder}/taken", "--config.training.steps=1"], ["training.steps"]),
    "an unknown setting": (["--workdir={folder}/taken", "--config.shot=1"], ["config.shot ", "config.shots"]),
    "a setting that is not a number": (["--workdir={folder}/taken", "--config.shots=x"], ["config.shots='x'", "int"]),
    "a setting without a value": (["--workdir={folder}/taken", "--config.shots"], ["config.shots needs a value"]),
    "not a number of episodes": (["--workdir={folder}/taken", "--episodes=two"], ["episodes=two"]),
    "too few episodes": (["--workdir={folder}/taken", "--episodes=1"], ["episodes=1", ">= 2"]),
    "stray argument": (["--workdir={folder}/taken", "now"], ["'now'"]),
}

_REPLAY = {
    "no step": (["--workdir={folder}/taken"], ["--workdir and --step"]),
    "step zero": (["--workdir={folder}/taken", "--step=0"], ["step=0", "positive integer"]),
    "a step after the last": (["--workdir={folder}/taken", "--step=3"], ["step 3 is not a step", "from 1 to 2"]),
    "no run to replay": (["--workdir={folder}/none", "--step=1"], ["none holds no run"]),
}


_COMPARE = {
    "several processes": (["--hosts=localhost:1,2,0"], ["runs in one process, so --hosts"]),
    "one arm": ([_SINUSOID, "--arms=none"], ["at least 2 arms"]),
    "an unknown arm": ([_SINUSOID, "--arms=none,most"], ["arm 'most' is not known", "none, both, in, out"]),
    "an invalid arm": ([_SINUSOID, "--arms=none,config.training.tasks_per_step=1"], ["tasks_per_step=1"]),
    "an arm with another test": ([_SINUSOID, "--arms=none,config.test_shots=7"], ["other test episodes"]),
    "an arm of Reptile": ([f"{_LEARNERS}:reptile", "--arms=none,in"], ["config.contrast.discriminate=False"]),
    "one seed": ([_SINUSOID, "--seeds=1"], ["seeds=1", ">= 2"]),
    "a malformed sweep": ([_SINUSOID, "--sweeps=test_shots=5"], ["not understood"]),
    "an invalid sweep": ([_SINUSOID, "--sweeps=config.test_shots=0"], ["config.test_shots=0", "1 or more"]),
    "a workdir of another run": ([_SINUSOID, "--workdir={folder}/taken"], ["belongs to another run"]),
}

_FAULTS = {
    "an unknown recipe to kill": (["--recipes=maml"], ["--recipes=maml is not known", "from sinusoid, quickstart."]),
}


def _environment(cache):
  paths = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
  return {**os.environ, "PYTHONPATH": paths, "METAJAX_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu",
          "PYTHONDONTWRITEBYTECODE": "1"}


def _contents(folder):
  return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
          for path in sorted(folder.rglob("*"))}


def _commands(commands, folder, cache):
  """Returns the results of commands, each a module and its arguments, one after another in a folder."""
  cases = [{"module": module, "arguments": arguments, "folder": str(folder)} for module, arguments in commands]
  done = subprocess.run([sys.executable, "-m", "tests.launch.forks"], input=json.dumps(cases), capture_output=True,
                        text=True, cwd=_ROOT, env=_environment(cache), timeout=300)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, cache):
  """The result of each case by kind and name, with the contents of its folder before and after."""
  folder = tmp_path_factory.mktemp("folder")
  (folder / "a_file").write_text("mine")
  (folder / "needs.py").write_text("def get_config(argument):\n  pass\n\n\ndef build(config):\n  pass\n")
  (folder / "empty").mkdir()
  for name in ("full", "torn"):
    (folder / name).mkdir()
  (folder / "full" / "thesis.txt").write_text("precious")
  (folder / "torn" / "run.json").write_text('{"recipe": ')
  settings = {"seed": 0, "shots": 10, "hidden": [4], "training": {"steps": 2}}
  workdir.claim(folder / "taken", "experiments/sinusoid_maml.py", settings)
  workdir.claim(folder / "elsewhere", "experiments/sinusoid_maml.py", settings, {"data": "sha256:0"})
  workdir.claim(folder / "old", "experiments/sinusoid_maml.py", {"test": {"lists": 1}})
  cases = [(module, name, [argument.replace("{folder}", str(folder)) for argument in arguments])
           for module, table in (("launch.train", _BAD), ("launch.evaluate", _EVALUATE), ("launch.replay", _REPLAY),
                                 ("launch.compare", _COMPARE), ("launch.faults", _FAULTS))
           for name, (arguments, _) in table.items()]
  before = _contents(folder)
  results = _commands([(module, arguments) for module, _, arguments in cases], folder, cache)
  return {(module, name): result for (module, name, _), result in zip(cases, results)}, before, _contents(folder)


def _check_sentence(result, words):
  assert result["code"] == 2, result
  assert re.fullmatch(r"error: .+[.?]\n", result["err"]), result["err"]  # "." does not match line ends: it is one line
  assert not result["out"]
  for word in words:
    assert word in result["err"], result["err"]


@pytest.mark.bad_input
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=_needs_fonts if arguments[:2] == _GLYPHS else ())
    for name, (arguments, _) in _BAD.items()])
def test_what_train_refuses(outcomes, name):
  _check_sentence(outcomes[0]["launch.train", name], _BAD[name][1])


@pytest.mark.bad_input
@pytest.mark.parametrize("name", _EVALUATE)
def test_what_evaluate_refuses(outcomes, name):
  _check_sentence(outcomes[0]["launch.evaluate", name], _EVALUATE[name][1])


@pytest.mark.bad_input
@pytest.mark.parametrize("name", _REPLAY)
def test_what_replay_refuses(outcomes, name):
  _check_sentence(outcomes[0]["launch.replay", name], _REPLAY[name][1])


@pytest.mark.bad_input
@pytest.mark.parametrize("name", _COMPARE)
def test_what_compare_refuses(outcomes, name):
  _check_sentence(outcomes[0]["launch.compare", name], _COMPARE[name][1])


@pytest.mark.bad_input
@pytest.mark.parametrize("name", _FAULTS)
def test_what_faults_refuses(outcomes, name):
  _check_sentence(outcomes[0]["launch.faults", name], _FAULTS[name][1])


def test_no_refusal_touches_the_disk(outcomes):
  _, before, after = outcomes
  assert after == before


@pytest.mark.parametrize("typed", [["-m", "launch.train"], ["metajax", "train"]], ids=" ".join)
def test_ctrl_c_before_training_is_a_sentence(tmp_path, cache, typed):
  (tmp_path / "metajax").write_text("from launch.__main__ import main\nmain()\n")  # as pip writes it
  command = [sys.executable, *typed, _SINUSOID, "--workdir=run"]
  started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=_environment(cache))
  time.sleep(2.0)  # it imports
  started.send_signal(signal.SIGINT)
  _, err = started.communicate(timeout=100)
  assert started.returncode == 130 and re.fullmatch(r"\nStopped by Ctrl-C[^\n]*\n", err), err


def test_a_run_and_its_test(tmp_path, cache):
  arguments, run = [f"{_LEARNERS}:ridge", *_TINY], "runs/sinusoid_ridge"
  dry, train, again, other, tested, shots, wide, step = _commands([
      ("launch.train", [*arguments, "--dry_run"]), ("launch.train", arguments),
      ("launch.train", ["--config=experiments/sinusoid.py:ridge", *_TINY]),  # its former name
      ("launch.train", [*arguments, "--config.conml=False"]),
      ("launch.evaluate", [f"--workdir={run}", "--episodes=3", "--test_seed=5"]),
      ("launch.evaluate", [f"--workdir={run}", "--config.test_shots=7", "--config.test_shift=0.5"]),
      ("launch.evaluate", [f"--workdir={run}", "--config.hidden=(5,)"]),
      ("launch.evaluate", [f"--workdir={run}", "--checkpoint=2"])], tmp_path, cache)
  assert dry["code"] == 0 and "parameters are trained" in dry["out"] and not dry["files"], dry["err"]

  assert train["code"] == 0, train["err"]
  assert f"python -m launch.evaluate --workdir={run}" in train["out"]
  assert workdir.read(tmp_path / run)["recipe"] == "sinusoid:ridge"
  config = workdir.read(tmp_path / run)["config"]
  assert config["hidden"] == [4] and config["training"]["steps"] == 2 and config["conml"] is True
  assert config["learner"] == "ridge"

  assert again["code"] == 0 and set(again["files"]) > set(train["files"]), again["err"]

  _check_sentence(other, ["belongs to another run", "conml was True and is now False"])
  assert other["files"] == again["files"]

  assert tested["code"] == 0, tested["err"]
  assert "After 2 steps." in tested["out"]
  assert json.loads((tmp_path / run / "test_3_5.json").read_text())["test_seed"] == 5
  assert set(tested["files"]) - set(again["files"]) == {f"{run}/test_3_5.json", f"{run}/test_3_5_episodes.npz"}

  assert shots["code"] == 0, shots["err"]
  written = json.loads((tmp_path / run / "test_2_0_test_shots=7_test_shift=0.5.json").read_text())
  assert written["settings"] == {"test_shots": 7, "test_shift": 0.5} and written["step"] == 2
  assert "tested at 7 shots" in written["notes"]
  _check_sentence({**wide, "out": ""}, ["do not fit the trained parameters", "would be [5], but is [4]"])
  assert step["code"] == 0 and f"{run}/test_2_0_step2.json" in step["files"], step["err"]
