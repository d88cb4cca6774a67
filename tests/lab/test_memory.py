"""Freed memory is kept, unless the environment configures the allocator."""

import os
import subprocess
import sys

import pytest

# The number of page faults of the second of two large blocks, after the first was freed, in the main thread or another:
# XLA:CPU allocates in its own threads.
SECOND_BLOCK = """
import resource, sys, threading
from metajax.lab import memory
print(memory.keep_freed_memory())

def second_block():
  faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  block = b"1" * (128 << 20)
  del block
  before = faults()
  block = b"1" * (128 << 20)
  print(faults() - before)

if sys.argv[1] == "main":
  second_block()
else:
  thread = threading.Thread(target=second_block)
  thread.start()
  thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
@pytest.mark.parametrize("environment, kept", [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
@pytest.mark.parametrize("thread", ["main", "another"])
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(environment, kept, thread):
  bare = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
  answer, faults = subprocess.run([sys.executable, "-c", SECOND_BLOCK, thread], env={**bare, **environment}, check=True,
                                  capture_output=True, text=True).stdout.split()
  assert answer == str(kept)
  assert (int(faults) < 1000) == kept
