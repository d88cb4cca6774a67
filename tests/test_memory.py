"""What is freed is kept, unless the user has said otherwise."""

import os
import subprocess
import sys

import pytest

# How many pages the system had to hand out for the second of two blocks of 64 MiB, of which the first was freed.
SECOND_BLOCK = """
import resource
from metajax import memory
print(memory.keep_freed_memory())
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
block = b"1" * (64 << 20)
del block
before = faults()
block = b"1" * (64 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be asked")
@pytest.mark.parametrize("environment, kept", [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(environment, kept):
  bare = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
  answer, faults = subprocess.run([sys.executable, "-c", SECOND_BLOCK], env={**bare, **environment}, check=True,
                                  capture_output=True, text=True).stdout.split()
  assert answer == str(kept)
  assert (int(faults) < 1000) == kept
