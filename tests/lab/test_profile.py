"""Profiles of training."""

import pytest

from tests import small_runs


@pytest.mark.parametrize("steps, said", [(3, "steps 3 to 6"), (100, "the steps after 2")])
def test_a_profile_is_written_for_tensorboard(tmp_path, steps, said):
  lines, _ = small_runs.run(small_runs.build_sinusoid(), tmp_path, profile=steps)
  assert [line for line in lines if line.startswith(f"Profile of {said}: {tmp_path}/tensorboard/plugins/profile.")]
  assert list((tmp_path / "tensorboard" / "plugins" / "profile").rglob("*.xplane.pb"))


def test_no_profile_unless_asked(tmp_path):
  small_runs.run(small_runs.build_sinusoid(), tmp_path)
  assert not (tmp_path / "tensorboard" / "plugins").exists()
