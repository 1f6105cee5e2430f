"""The names and arguments of what the bus declares, for RabbitMQ 3.10 to 4."""

import secrets
from dataclasses import dataclass
from typing import Any

DEAD_LETTERS_KEPT = 10_000  # messages; an event has less than 1 KiB
DEAD_BYTES_KEPT = 64 * 2**20  # what strangers publish may be larger
HEARD_KEPT = 10_000  # events that wait for a process that listens; the oldest are dropped beyond it


@dataclass(frozen=True, slots=True)
class Topology:
    """One topic exchange, the assembler's queue, and where its dead letters go."""

    exchange: str = "hiper.events"
    queue: str = "assembler"
    delivery_limit: int = 20

    @property
    def dead_exchange(self) -> str:
        return f"{self.exchange.removesuffix('.events')}.dead"

    @property
    def dead_queue(self) -> str:
        return f"{self.queue}.dead"

    def listener_queue(self) -> str:
        """A name of its own for each connection that listens: permissions at the broker are by name."""
        return f"{self.exchange.removesuffix('.events')}.listener.{secrets.token_hex(8)}"

    @property
    def listener_arguments(self) -> dict[str, Any]:
        return {"x-max-length": HEARD_KEPT, "x-overflow": "drop-head"}

    @property
    def queue_arguments(self) -> dict[str, Any]:
        """https://www.rabbitmq.com/docs/quorum-queues. Dead-lettering at least once (from 3.10 on) asks for
        reject-publish, which without a length limit rejects nothing."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            "x-dead-letter-exchange": self.dead_exchange,
            "x-dead-letter-routing-key": self.dead_queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    @property
    def dead_queue_arguments(self) -> dict[str, Any]:
        """RabbitMQ 4 limits deliveries to 20 unless told otherwise, and then drops: looking at a dead letter and
        putting it back must not lose it. The oldest dead letters make room for new ones: if the queue refused them,
        they would stay in the assembler's queue."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": 1_000_000,
            "x-max-length": DEAD_LETTERS_KEPT,
            "x-max-length-bytes": DEAD_BYTES_KEPT,
            "x-overflow": "drop-head",
        }
