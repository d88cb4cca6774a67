"""Strict JAX, eight simulated devices, and a cache of compiled programs, set before jax initialises its devices.

Leaks are checked in separate tests (`jax.checking_leaks`), because the check disables all caches.
"""

import os
import pathlib
import tempfile

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import pytest  # noqa: E402

from tests.helpers import compiled_quickly  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(tempfile.gettempdir()) / "metajax-test-xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # programs are compiled by one worker only
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture
def x64():
  """Float64 for one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(name="compiled_quickly")
def _compiled_quickly():
  """For tests of formulas rather than of compiled programs: compiles fast, without optimisation."""
  with compiled_quickly():
    yield


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
  """The folder of real data; without it, the test is skipped with a warning."""
  folder = os.environ.get("METAJAX_DATA_DIR")
  if not folder:
    pytest.skip("METAJAX_DATA_DIR is not set: tests on real Omniglot images are SKIPPED")
  return pathlib.Path(folder)
