"""Verdicts from numbers: better, worse or neither, and the formatting of numbers."""

import pytest

from metajax.lab.reports import judgement
from tests.lab.reports.test_arms import results


@pytest.mark.parametrize("measure, mean, p, others, said", [
    ("loss", -0.1, 0.001, 1, "better"), ("loss", 0.1, 0.001, 1, "worse"), ("accuracy", 0.1, 0.001, 1, "better"),
    ("accuracy", -0.1, 0.001, 1, "worse"), ("loss", -0.1, 0.2, 1, "no difference"),
    ("loss", -0.1, 0.03, 1, "better"), ("loss", -0.1, 0.03, 3, "no difference"),
    ("loss", None, None, 1, "inconclusive")])
def test_verdicts(measure, mean, p, others, said):
  sentences = judgement.verdicts(results(measure, mean, p, others))
  assert len(sentences) == others and all(said in sentence for sentence in sentences)


def test_a_verdict_says_how_much():
  said, = judgement.verdicts(results())
  assert said == "arm0 against none: better (loss -0.100 ± 0.050 over 2 seeds, -10.0 %, p = 0.001)."


def test_reaching_counts_seeds():
  rows = lambda *places: [{"loss": {"by_seed": place}} for place in places]
  swept = {"arms": {"none": rows([2, 2, 2], [1, 1, 1]), "arm": rows([3, 0.5, 1], [2, 1, None])}}
  assert judgement.reaching(swept, "arm", "none") == 1  # the second; the third is inconclusive in places


@pytest.mark.parametrize("mean, interval, words", [
    (0.6852, 0.0364, "0.685 ± 0.036"), (-0.0847494, 0.041, "-0.085 ± 0.041"), (41.873, 1.84, "41.9 ± 1.8"),
    (1.868e-5, 6.37e-6, "(1.87 ± 0.64)e-05"), (1e-9, 3e-6, "(0.0 ± 3.0)e-06"), (1234.5, 321.0, "1234 ± 321"),
    (0.5, None, "0.5"), (0.5, 0.0, "0.5 ± 0"), (None, None, "not finite")])
def test_numbers_as_words(mean, interval, words):
  assert judgement.with_interval({"mean": mean, "interval": interval}) == words


def test_numbers_in_per_cent_and_with_their_sign():
  assert judgement.with_interval({"mean": 0.123, "interval": 0.0456}, scale=100, sign=True) == "+12.3 ± 4.6"
