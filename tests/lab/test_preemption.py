"""The first signal becomes a stop request; a second one has its default effect."""

import os
import signal

import pytest

from metajax.lab import preemption


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_is_a_request(number, code):
  before = signal.getsignal(number)
  with preemption.stop_on_signals() as stop:
    assert not stop()
    os.kill(os.getpid(), number)
    assert stop() and stop() and stop.exit_code == code
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)  # the second one ends the process
  assert signal.getsignal(number) == before


def test_a_second_interrupt_interrupts():
  with preemption.stop_on_signals() as stop:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)
      signal.getsignal(signal.SIGINT)  # let the signal arrive
    assert stop()


def test_handlers_come_back_after_an_error():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(RuntimeError):
    with preemption.stop_on_signals():
      raise RuntimeError
  assert signal.getsignal(signal.SIGTERM) == before
