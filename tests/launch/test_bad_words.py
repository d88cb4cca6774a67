"""Arbitrary words as settings: each gives a ValueError with one sentence, or its value; nothing else.

The functions of the command lines are called in one process; tests/launch/test_command_line.py runs real processes.
"""

import dataclasses

from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import config_flags
import pytest

from experiments.regression import sinusoid
from launch import arms, command_line, fields
from metajax.lab.recipe import Recipe
from tests.test_bad_inputs import answer

pytestmark = pytest.mark.bad_input

_many = settings(max_examples=150, deadline=None, derandomize=True, database=None)
# Recipes that need no data.
_recipes = st.sampled_from([*(f"sinusoid:{name}" for name in sinusoid.defaults()),
                            *(f"icl_{name}" for name in ("linear", "network", "sparse", "tree"))])

_ODD = ["", " ", "0", "-1", "1", "2", "3", "2147483647", "2147483648", "-2147483648", "1e3", "1e400", "nan", "-inf",
        "0x10", "1_000", "٣", "½", "True", "no", "None", "()", "(1,)", "(1, 2)", "(1.5,)", "[1]", "1,", "(" * 5000,
        "-" * 5000, "9" * 5000, "{[]: 1}", "{1: 2}", "'a'", "b'a'", "__import__('os')", "../..", "\x00", "\ud800", "é",
        "halves", "cosine", "a=b", "%s", "{}", "lambda: 0", "1+1", "1j"]
_words = st.one_of(st.sampled_from(_ODD), st.text(max_size=12), st.integers().map(str), st.floats().map(str))


def _fields(config, prefix=""):
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      yield from _fields(value, f"{prefix}{field.name}.")
    else:
      yield prefix + field.name, value


_FIELDS = list(_fields(command_line.default_config("sinusoid:maml")))
_paths = st.sampled_from([name for name, _ in _FIELDS])


def _nested(name, value):
  for part in reversed(name.split(".")):
    value = {part: value}
  return value


@_many
@given(_paths, _words)
def test_accepted_values_keep_their_meaning(name, words):
  config = command_line.default_config("sinusoid:maml")
  default = dict(_FIELDS)[name]
  if isinstance(answer(lambda: fields.check_setting(config, name, words)), str):
    return
  read = flags.FlagValues()
  line = ["command", f"--config.{name}={words}"]
  config_flags.DEFINE_config_dataclass("config", config, flag_values=read, sys_argv=line)
  read(line)
  value = config
  for part in name.split("."):
    value = getattr(value, part)
  assert default is None or type(value) is type(default)
  if isinstance(value, tuple):
    assert {type(part) for part in value} <= {type(part) for part in default}


_arguments = st.lists(st.one_of(
    _words, st.builds("--config.{}={}".format, _paths, _words), st.builds("--{}={}".format, _words, _words),
    st.sampled_from(["--config", "--config=", "--config.", "--config.training", "--noconfig.conml", "-config.seed",
                     "--config=none.py", "--", "---", "=", "--config..=1", "--config.training.=1"])), max_size=4)


@_many
@given(_recipes, _arguments)
def test_any_command_line_is_understood_or_refused(recipe, arguments):
  said = answer(lambda: command_line._check_settings([f"--config={recipe}", *arguments], recipe))
  assert isinstance(said, str)


_numbers = st.sampled_from([-2**31, -2, -1, 0, 1, 2, 3, 99, 2**31 - 1])
_reals = st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.0, -0.0, 0.0, 1e-300, 1e-45, 0.5, 1.0, 1e38,
                          1e300])
_OF_TYPE = {bool: st.booleans(), int: _numbers, float: _reals, tuple: st.lists(_numbers, max_size=3).map(tuple),
            str: st.one_of(st.sampled_from(["halves", "subsets", "support", "cosine", "weights", "", "-", "val_loss"]),
                           st.text(max_size=8))}


@_many
@given(_recipes, st.data())
def test_settings_that_can_be_typed_make_a_recipe_or_a_sentence(recipe, data):
  config = command_line.default_config(recipe)
  known = [(name, value) for name, value in _fields(config) if name != "learner"]
  for name, default in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)):
    config = fields.from_mapping(config, _nested(name, data.draw(_OF_TYPE[type(default)])))
  said = answer(lambda: command_line.make(recipe, config))
  assert isinstance(said, (str, Recipe))


@pytest.mark.parametrize("name", ["shots", "queries", "inner_steps", "training.tasks_per_step",
                                  "training.steps_per_dispatch", "contrast.view_size"])
def test_a_number_as_large_as_there_are_is_no_hang(name):
  recipe = "sinusoid:maml"
  config = fields.from_mapping(command_line.default_config(recipe), _nested(name, 2**31 - 1))
  said = answer(lambda: command_line.build(recipe, config))
  assert isinstance(said, (str, Recipe))


@_many
@given(st.lists(_words, max_size=5).map(",".join))
def test_any_arms_are_understood_or_refused(words):
  config = command_line.default_config("sinusoid:maml")
  assert isinstance(answer(lambda: arms.parse(config, words)), (str, dict))


@_many
@given(st.lists(_words, max_size=3).map(",".join))
def test_any_sweeps_are_understood_or_refused(words):
  config = command_line.default_config("sinusoid:maml")
  assert isinstance(answer(lambda: arms.parse_sweeps(config, words)), (str, dict))


@_many
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.dictionaries(st.sampled_from(["seed", "training", "steps", "hidden", "x", ""]),
                                                  inner, max_size=3), max_leaves=6))
def test_settings_of_a_run_json_that_are_none(values):
  config = command_line.default_config("sinusoid:maml")
  if isinstance(values, dict):
    said = answer(lambda: fields.from_mapping(config, values))
    assert isinstance(said, (str, type(config)))
