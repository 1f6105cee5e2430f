"""The simulation can fail: each deliberate breakage of the code is caught."""

import pytest

from tests.simulation.breakages import BREAKAGES
from tests.simulation.test_histories import simulate

# Those of which it is known. The others of BREAKAGES have not been looked for long enough.
CAUGHT = (
    "acknowledge before the put",
    "skip the lease check",
    "fold with an off-by-one",
    "overwrite a chunk: no digest in its key",
    "do not compare with what is stored",
    "a writer that joins does not wait",
    "every writer believes that it is alone",
    "a clock that stops while its process is paused",
    "delete chunks before the final object exists",
    "trust filled_parts without looking",
    "keep only the multipart upload",
    "adopt another session's multipart upload",
    "do not look for a declared digest",
    "no fence on the final object",
    "no fence on partials",
    "answer a cancel without waiting",
    "remove another's marker",
    "do not abort multipart uploads",
    "delete the old partial file before the new one is written",
    "delete orphans at once, without a second look",
    "a read acts on a look for ever",
    "no fence on a late cancel",
    "park without waiting",
    "of two that contradict, the newer counts",
    "no upload looks for a partial file below it",
)


@pytest.mark.parametrize("name", CAUGHT)
def test_it_is_caught_within_two_thousand_histories(name: str) -> None:
    done = simulate(BREAKAGES[name].first, 2000, "--stop", "--break", name)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of " in done.stdout, done.stdout + done.stderr
