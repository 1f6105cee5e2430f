"""Bad networks: what is done to which link."""

from dataclasses import dataclass

from tests.faults.proxies import Toxic

LINKS = ("device", "store", "broker")  # device to ingest, services to MinIO, services to RabbitMQ


@dataclass(frozen=True)
class Weather:
    """`cuts`: seconds between two moments at which every connection of the link is closed; 0 for never."""

    name: str
    links: tuple[str, ...]
    toxics: tuple[Toxic, ...] = ()
    cuts: float = 0.0


def both(type_: str, toxicity: float = 1.0, **attributes: int) -> tuple[Toxic, Toxic]:
    return Toxic(type_, "upstream", attributes, toxicity), Toxic(type_, "downstream", attributes, toxicity)


# Times in milliseconds (the slicer's in microseconds), rates in kilobytes per second.
WEATHERS = (
    Weather("latency of 100 to 300 ms", ("device",), both("latency", latency=100, jitter=50)),
    Weather("latency of 20 to 60 ms", ("store", "broker"), both("latency", latency=20, jitter=10)),
    Weather("10 KB/s", ("device", "broker"), both("bandwidth", rate=10)),
    Weather("200 KB/s", ("store",), both("bandwidth", rate=200)),
    Weather("lost in the middle of a chunk", ("device",), (Toxic("limit_data", "upstream", {"bytes": 60_000}),)),
    Weather("lost in the middle of a body", ("store",), (Toxic("limit_data", "upstream", {"bytes": 130_000}),)),
    Weather("lost before the answer", LINKS, (Toxic("limit_data", "downstream", {"bytes": 40}, 0.3),)),
    Weather("no answer, then lost", ("device",), (Toxic("timeout", "downstream", {"timeout": 300}, 0.5),)),
    Weather("no answer, then lost", ("store", "broker"), (Toxic("timeout", "downstream", {"timeout": 300}, 0.3),)),
    Weather("reset", LINKS, (Toxic("reset_peer", "downstream", {"timeout": 5}, 0.3),)),
    Weather("slow to close", LINKS, both("slow_close", delay=1000)),
    Weather("crumbs of 500 bytes", LINKS, both("slicer", average_size=500, size_variation=250, delay=500)),
    Weather("cut now and then", LINKS, cuts=0.7),
)
