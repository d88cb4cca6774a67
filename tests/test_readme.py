"""Every Python block of README.md and of the guide to learners runs, with the documented results."""

import functools
import pathlib
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from launch import command_line, explain
from metajax.descent import descend
from metajax.lab import run as runs
from tests.helpers import classification_episodes

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", README, re.M | re.S))


def blocks(section):
  """Returns the Python blocks of a section of README.md, each with the line before it."""
  return re.findall(r"^([^\n]*)\n\n```python\n(.*?)^```", SECTIONS[section], re.M | re.S)


@pytest.fixture
def everyday_jax():
  """Default flags."""
  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    yield


@pytest.mark.parametrize("library", ["Flax linen", "Flax NNX", "Equinox", "Haiku"])
def test_importing_one_loss(everyday_jax, library):
  (_, block), *models = blocks("Import one loss")
  assert len(block.strip().splitlines()) <= 25 and len(models) == 4
  names = {}
  exec(block, names)
  said, model = next(each for each in models if library in each[0])
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # warnings of another library
    exec(model, names)
  params, gradient = names["params"], names["gradient"]
  assert jax.tree.structure(params) == jax.tree.structure(gradient) and float(optax.tree.norm(gradient)) > 0
  # The gradient is that of ConML's loss: a step against it decreases the loss.
  apply = eval(re.search(r"step\(params, (.*), support, query\)", model).group(1), names)
  loss = jax.jit(functools.partial(names["conml"], apply=apply, support=names["support"], query=names["query"]))
  stepped = jax.tree.map(lambda w, g: w - 0.01 * g, params, gradient)
  assert loss(stepped) < loss(params)


def short(block):
  """Returns a block of README with few steps and episodes instead of thousands."""
  found = re.sub(r"steps=[\d_]+", "steps=60", block).replace("loss))", "loss, episodes=20))")
  assert found != block
  return found


def test_the_front_page_trains_tests_and_predicts(everyday_jax, capsys):
  block = re.search(r"^```python\n(.*?)^```", README, re.M | re.S).group(1)
  assert len([line for line in block.splitlines() if line.strip()]) <= 15
  names = {}
  exec(short(block), names)
  assert names["trained"].metrics["step"][-1] == 60 and names["trained"].metrics["d_in"][-1] > 0
  printed = capsys.readouterr().out
  assert re.match(r"loss \d+\.\d{4} ± \d+\.\d{4}\n", printed)
  outputs = names["model"](names["episode"].query.inputs[0])
  assert outputs.shape == (10, 1) and np.isfinite(outputs).all()


def test_a_learner_of_ones_own(everyday_jax):
  (_, block), = blocks("Write your own learner")
  assert len(block.strip().splitlines()) <= 30
  names = {}
  exec(short(block), names)
  metrics = names["trained"].metrics
  assert {"d_in", "d_out"} <= set(metrics) and metrics["episodic_loss"][-1] < metrics["episodic_loss"][0]


def test_the_guide_to_learners(everyday_jax):
  guide = ROOT / "docs" / "own_learner.md"
  block, *further = re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"), re.M | re.S)
  assert len([line for line in block.splitlines() if line.strip()]) <= 41
  names = {}
  exec(block, names)
  for each in further:
    exec(re.sub(r"steps=\d+", "steps=60", each).replace("losses.accuracy})", "losses.accuracy}, episodes=20)"), names)
  assert names["results"]["accuracy"].mean > 0.4 and len(further) == 3
  losses = names["trained_regressor"].metrics["episodic_loss"]
  assert losses[-1] < losses[0]
  learner, objective = names["learner"], names["objective"]
  episodes = classification_episodes(num_tasks=8, ways=5, shots=3, padding=1)
  params = learner.init(jax.random.key(0), episodes.support.inputs[0])
  step = jax.jit(jax.value_and_grad(objective, has_aux=True))
  (start, metrics), _ = step(params, episodes, jax.random.key(1))
  optimizer = optax.adam(3e-3)
  state = optimizer.init(params)
  for _ in range(60):
    (loss, _), gradient = step(params, episodes, jax.random.key(1))
    params, state = descend(optimizer, gradient, state, params)
  assert loss < start and {"d_in", "d_out", "accuracy"} <= set(metrics)
  # The first law: the contents of padding change nothing.
  support = episodes.support
  rubbish = episodes._replace(support=support._replace(
      inputs=jnp.where(support.mask[..., None], support.inputs, 77.0)))
  assert step(params, rubbish, jax.random.key(1))[0][0] == step(params, episodes, jax.random.key(1))[0][0]


def test_the_guide_to_recipes(tmp_path):
  guide = (ROOT / "docs" / "own_recipe.md").read_text(encoding="utf-8")
  block, = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
  (tmp_path / "parabolas.py").write_text(block, encoding="utf-8")
  config = command_line.default_config(str(tmp_path / "parabolas.py"))
  config.training.steps, config.test.episodes, config.test.val_episodes = 20, 20, 4
  built = command_line.build(str(tmp_path / "parabolas.py"), config)
  assert runs.run(built, tmp_path / "run", say=lambda _: None)["loss"].mean < 2.0
  assert all(each.about for each in explain.fields(config))


def test_links_of_the_readme_work():
  links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
  assert len(links) > 8 and [link for link in links if not (ROOT / link).exists()] == []


def test_the_licence_is_whole_and_the_version_is_one():
  licence = (ROOT / "LICENSE").read_text()
  assert "Version 2.0, January 2004" in licence and "END OF TERMS AND CONDITIONS" in licence
  version = re.search(r"^version = (.*)$", (ROOT / "setup.cfg").read_text(), re.M).group(1)
  assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
  assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_all_name_one_repository():
  field = re.compile(r"^(?:url|repository-code)\W+https://github.com/(.*)$", re.M)
  named = {name: field.search((ROOT / name).read_text()).group(1) for name in ("setup.cfg", "CITATION.cff")}
  notebooks = [path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "notebooks").glob("*.py")]
  for number, text in enumerate(notebooks):
    named[number] = "/".join(re.search(r"/github/([\w-]+)/([\w-]+)/blob/", text).groups())
    named.update((f"{number} {found}", found) for found in re.findall(r"git\+https://github.com/([\w/-]+)", text))
  assert len(named) >= 2 + 5 + 4 and set(named.values()) == {"metajax/metajax"}
