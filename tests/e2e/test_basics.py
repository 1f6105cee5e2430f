"""The main road, both ways to run."""

import os
import random

from tests.e2e.device import new_device
from tests.e2e.processes import Deployment

MIB = 2**20


async def test_a_file_goes_up_in_chunks_and_comes_down_equal(deployment: Deployment) -> None:
    content = os.urandom(20 * MIB + 123)
    async with new_device(deployment, "car-17") as car:
        for raw, name in ((True, "raw ünï%20.bin"), (False, "header.bin")):
            for start in range(0, len(content), MIB):
                answer = await car.send(name, len(content), start, content[start : start + MIB], raw=raw)
                assert answer["next_expected_byte"] == min(start + MIB, len(content))
            await car.wait_for(name.replace("%", "%25"), "complete")
            assert await car.content(name.replace("%", "%25")) == content


async def test_chunks_in_random_order_twice_and_overlapping_make_the_file(deployment: Deployment) -> None:
    content = random.Random(1).randbytes(12 * MIB)
    pieces = [(a, content[a : a + MIB + 1000]) for a in range(0, len(content), MIB)] * 2
    random.Random(2).shuffle(pieces)
    async with new_device(deployment, "car-17") as car:
        for start, payload in pieces:
            await car.send("random.bin", len(content), start, payload)
        done = await car.wait_for("random.bin", "complete")
        assert done["next_expected_byte"] == len(content)
        assert await car.content("random.bin") == content
