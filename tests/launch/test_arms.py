"""Parsing of arms and sweeps, and one-sentence error messages."""

import pytest

from experiments.in_context import icl_images, icl_linear
from experiments.regression import sinusoid
from launch import arms

_CONFIG = sinusoid.get_config()


def test_named_arms():
  found = arms.parse(_CONFIG, "none,in,out,both")
  terms = {name: (arm.conml, arm.contrast.align, arm.contrast.discriminate) for name, arm in found.items()}
  assert list(found) == ["none", "in", "out", "both"]
  assert terms["none"][0] is False
  assert [terms[name] for name in ("in", "out", "both")] == [(True, True, False), (True, False, True),
                                                             (True, True, True)]
  assert _CONFIG.conml and _CONFIG.contrast.align and _CONFIG.contrast.discriminate  # untouched
  assert [arm.conml for arm in arms.parse(icl_images.get_config(), "none,both").values()] == [False, True]
  assert not arms.parse(icl_linear.get_config(), "none,in")["in"].contrast.discriminate


def test_arms_of_a_field():
  found = arms.parse(_CONFIG, "none,config.contrast.weight=0.03,0.1,config.hidden=(8,8),(4,),config.conml=False")
  assert list(found) == ["none", "contrast.weight=0.03", "contrast.weight=0.1", "hidden=(8,8)", "hidden=(4,)",
                         "conml=False"]
  assert [found[f"contrast.weight={weight}"].contrast.weight for weight in ("0.03", "0.1")] == [0.03, 0.1]
  assert found["hidden=(8,8)"].hidden == (8, 8) and found["hidden=(4,)"].hidden == (4,)
  assert found["hidden=(4,)"].conml and not found["conml=False"].conml


def test_sweeps():
  found = arms.parse_sweeps(_CONFIG, "config.test_shots=2,5,config.test_shift=0,0.5")
  assert found == {"test_shots": (2, 5), "test_shift": (0.0, 0.5)}
  assert arms.parse_sweeps(_CONFIG, "") == {}
  assert arms.parse_sweeps(_CONFIG, sinusoid.sweeps(_CONFIG))["test_inner_steps"] == (1, 2, 5, 10)
  assert arms.changed(_CONFIG, {"test.episodes": 7, "test_shots": 3}).test.episodes == 7


@pytest.mark.parametrize("text, words", [
    ("none,some", "arm 'some' is not known; give one of none, both, in, out"),
    ("none,none", "arm none appears twice"),
    ("none,,both", "empty item"),
    ("config.contrast.wait=1", "did you mean config.contrast.weight"),
    ("config.contrast.weight=much", "not of type float"),
    ("config.contrast=1", "is a group"),
    ("config.seed=0,1", "cannot define arms"),
    ("config.test.episodes=5,6", "cannot define arms"),
])
def test_what_arms_cannot_be(text, words):
  with pytest.raises(ValueError, match=words.replace("(", r"\(")):
    arms.parse(_CONFIG, text)


def test_an_arm_that_a_recipe_does_not_have():
  with pytest.raises(ValueError, match="arm in does not apply to this recipe"):
    arms.parse(icl_images.get_config(), "none,in")


def test_what_sweeps_cannot_be():
  with pytest.raises(ValueError, match="not understood"):
    arms.parse_sweeps(_CONFIG, "5,6")
  with pytest.raises(ValueError, match="did you mean"):
    arms.parse_sweeps(_CONFIG, "config.test_shot=5")
