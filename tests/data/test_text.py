"""Readers of intents on miniature files that the tests write, and on the real ones if available."""

import gzip
import json

import jax.numpy as jnp
import numpy as np
import pytest

from metajax.data import text

DOMAINS = {domain: [f"{domain}_{letter}" for letter in "ab"] for group in text.DOMAINS.values() for domain in group}


def write_clinc(folder):
  folder.mkdir()
  parts = {part: [[f"{intent} {part} {number}", intent] for domain in DOMAINS.values() for intent in domain
                  for number in range(count)] for part, count in (("train", 2), ("val", 1), ("test", 1))}
  parts["oos_train"] = [["what is this", "oos"]]
  with gzip.open(folder / "data_full.json.gz", "wt") as file:
    json.dump(parts, file)
  (folder / "domains.json").write_text(json.dumps(DOMAINS))
  return folder


def test_domains_are_held_out(tmp_path):
  folder = write_clinc(tmp_path / "clinc150")
  parts = {split: text.clinc150(split, data_dir=tmp_path) for split in ("train", "val", "test")}
  assert parts["test"].names == ("banking/banking_a", "banking/banking_b", "credit_cards/credit_cards_a",
                                 "credit_cards/credit_cards_b")
  assert {split: set(part.groups) for split, part in parts.items()} == {
      split: set(domains) for split, domains in text.DOMAINS.items()}
  assert parts["val"].counts.tolist() == [4, 4] and parts["val"].examples.shape == (8, text.WIDTH)
  np.testing.assert_array_equal(parts["val"].examples[0], text.hashed_ngrams(["travel_a train 0"])[0])
  (folder / "domains.json").write_text("{}")
  with pytest.raises(ValueError, match="clinc150 must hold CLINC150's .* cannot be read .*banking"):
    text.clinc150("test", data_dir=tmp_path)
  (folder / "data_full.json.gz").write_bytes(b"no")
  with pytest.raises(ValueError, match="cannot be read"):
    text.clinc150("test", data_dir=folder)


def test_intents_of_banking_are_shared(tmp_path):
  for name, count in (("train", 3), ("test", 1)):
    rows = [f'"how, where {name} {number}",card_{intent}' for intent in range(10) for number in range(count)]
    (tmp_path / f"{name}.csv").write_text("text,category\n" + "\n".join(rows) + "\n")
  parts = [text.banking77(split, data_dir=tmp_path) for split in ("train", "val", "test")]
  assert [len(part.names) for part in parts] == [6, 2, 2] and len({name for part in parts for name in part.names}) == 10
  assert parts[0].counts.tolist() == [4] * 6
  (tmp_path / "test.csv").write_text("sentence,category\na,b\n")
  with pytest.raises(ValueError, match="columns text and category"):
    text.banking77("train", data_dir=tmp_path)


def test_missing_data_gives_a_sentence_with_a_remedy(tmp_path, monkeypatch):
  monkeypatch.delenv("METAJAX_DATA_DIR", raising=False)
  with pytest.raises(FileNotFoundError, match="Expected data_full.json of clinc150; set METAJAX_DATA_DIR"):
    text.clinc150("train")
  with pytest.raises(FileNotFoundError, match="train.csv of banking77 and found it in none of"):
    text.banking77("train", data_dir=tmp_path)


def test_ngrams_are_counted_and_do_not_depend_on_case_or_process():
  rows = text.hashed_ngrams(["Pay my pay bill", "pay MY  pay bill!", "pay my pay bills", ""], 512)
  np.testing.assert_array_equal(rows[0], rows[1])
  assert (rows[0] != rows[2]).any() and not rows[3].any() and rows.dtype == np.uint8
  # 4 words, 3 pairs; of "<pay>" 3 + 2 + 1 letters, twice; "<my>" 2 + 1; "<bill>" 4 + 3 + 2.
  assert rows[0].sum() == 4 + 3 + 12 + 3 + 9
  assert text.hashed_ngrams(["a"], 512)[0, 3904355907 % 512] == 1  # the checksum of "a" is a constant of CRC-32
  assert text.hashed_ngrams(["ab " * 400], 8).max() == 255


def test_texts_become_rows_of_length_one():
  rows = text.unit_counts(jnp.asarray([[3, 0, 1], [0, 0, 0]], jnp.uint8))
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0], rtol=1e-6)
  np.testing.assert_allclose(rows[0, 0] / rows[0, 2], 2, rtol=1e-6)  # log 4 / log 2


def test_the_real_texts(data_dir):
  if not (data_dir / "text").is_dir():
    pytest.skip(f"{data_dir} has no text: tests on real CLINC150 and Banking77 are SKIPPED")
  data = text.clinc150("test", data_dir=data_dir)
  assert len(data.names) == 30 and data.counts.tolist() == [150] * 30
  assert sum(len(text.banking77(split, data_dir=data_dir).examples) for split in ("train", "val", "test")) == 13083
