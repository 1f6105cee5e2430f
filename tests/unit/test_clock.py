"""The machine's clock, on which leases run."""

import sys
import time

import pytest

from libs.common.clock import SystemClock


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have no clock of this name")
def test_a_lease_ends_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock in use is the one that goes on then (clock_gettime(2)); most machines show alike times by both."""
    readings = {time.CLOCK_BOOTTIME: 3600.0, time.CLOCK_MONOTONIC: 1.0}
    monkeypatch.setattr(time, "clock_gettime", readings.__getitem__)
    assert SystemClock().monotonic() == 3600.0
