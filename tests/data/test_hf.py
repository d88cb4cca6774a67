"""Data sets with columns: names, labels, images of any kind; a stand-in for Hugging Face's, which need not be there."""

import io
from types import SimpleNamespace

from PIL import Image
import jax
import numpy as np
import pytest

import metajax.data
from metajax.data import from_arrays, from_hf
from metajax.tasks import class_tasks


class Columns(dict):
  """Columns, and features with the names of classes, as of `datasets.Dataset`."""

  def __init__(self, names=None, **columns):
    super().__init__(columns)
    self.column_names = list(columns)
    self.features = {name: SimpleNamespace(names=names if name == "label" else None) for name in columns}


def picture(number, size=(6, 4), mode="RGB"):
  return Image.new(mode, size, (number,) * 3 if mode == "RGB" else number)


def encoded(image):
  file = io.BytesIO()
  image.save(file, format="png")
  return {"bytes": file.getvalue(), "path": None}


def test_arrays_and_columns_are_one_line_from_tasks():
  inputs, targets = np.arange(24.0).reshape(12, 2), ["wren", "tit", "owl"] * 4
  for data in (from_arrays(inputs, targets), from_hf({"x": inputs, "y": targets}, inputs="x", targets="y")):
    tasks = class_tasks(data, ways=3, shots=1, queries=3)
    assert data.names == ("owl", "tit", "wren") and data.counts.tolist() == [4, 4, 4]
    assert tasks.sample(tasks.data, jax.random.key(0)).query.inputs.shape == (9, 2)
  assert len(metajax.data.split_classes(data, "test").names) == 1


@pytest.mark.parametrize("as_stored", [lambda image: image, encoded])
@pytest.mark.parametrize("labels, names", [([2, 0, 2, -1], ["owl", "tit", "wren"]),
                                           (["wren", "owl", "wren", None], None)])
def test_names_are_kept_and_what_has_no_label_is_counted(labels, names, as_stored):
  data = from_hf(Columns(names, image=[as_stored(picture(number)) for number in (1, 2, 3, 4)], label=labels))
  assert data.names == ("owl", "wren") and data.counts.tolist() == [1, 2]
  assert data.examples.shape == (3, 4, 6, 3) and data.examples[:, 0, 0, 0].tolist() == [2, 1, 3]
  assert data.source.endswith(" 1 examples without a label are left out.")


def test_images_of_unlike_sizes_are_resized_and_deep_ones_keep_their_levels():
  data = from_hf(Columns(image=[picture(1), picture(2, (9, 5))], label=[0, 1]), image_size=3, grey=True)
  assert data.examples.shape == (2, 3, 3, 1) and data.examples.dtype == np.uint8
  ramp = (1000 * np.arange(64).reshape(8, 8)).astype(np.uint16)
  for size in (0, 8):
    deep = from_hf(Columns(image=[Image.fromarray(ramp)] * 2, label=[0, 1]), image_size=size)
    np.testing.assert_allclose(deep.examples[1, :, :, 2], ramp / 65535, rtol=1e-5)


def test_negative_numbers_without_names_are_classes():
  assert from_hf({"image": np.zeros((3, 2)), "label": [-1, 1, 1]}).names == ("-1", "1")


@pytest.mark.bad_input
@pytest.mark.parametrize("dataset, sentence", [
    (SimpleNamespace(column_names={"train": ["image"], "test": ["image"]}), "the splits train, test; give one, such"),
    (Columns(pixels=[1], label=[1]), "no column 'image'; its columns are pixels, label"),
    (Columns(image=[1], kind=[1]), "no column 'label'"),
    (Columns(image=[[1.0]] * 2, label=[None, None]), "column 'label' must have a label .* all of its 2 rows have none"),
    (Columns(image=[picture(1), picture(1, (5, 5))], label=[0, 1]), "one shape, but .* for images, give image_size"),
    (Columns(image=[[1.0], [2.0]], label=[0.5, 1.5]), "targets must be integers or strings")])
def test_other_columns_are_refused(dataset, sentence):
  with pytest.raises(ValueError, match=sentence):
    from_hf(dataset)
