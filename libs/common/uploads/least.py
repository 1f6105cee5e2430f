"""How small a chunk may be: each is an object of the store, so that crumbs would evade a quota that counts bytes."""

from dataclasses import dataclass

from libs.common.files.extents import Extent, Extents
from libs.common.problems import Kind, Problem

FREE = 10_000  # chunks of an upload that may have any size: small devices send small files in small chunks


@dataclass(frozen=True)
class LeastSize:
    """`size` in bytes; 0: chunks may have any size."""

    size: int = 0

    def check(self, extent: Extent, total_size: int | None, durable: Extents, stored: int) -> None:
        """Raises CHUNK_TOO_SMALL for a chunk of an upload in which this replica knows of `stored` chunks. Never for one
        that ends the file, or that fills a gap between bytes that are there: a device must be able to finish."""
        if extent.length >= self.size or stored < FREE or extent.end == total_size or _fills_gap(extent, durable):
            return
        raise Problem(
            Kind.CHUNK_TOO_SMALL,
            f"A chunk of {extent.length} bytes, in an upload that has {stored} chunks already. From here on a chunk "
            f"must have at least {self.size} bytes, unless it ends the file or fills a gap.",
            least=self.size,
        )


def _fills_gap(extent: Extent, durable: Extents) -> bool:
    """Whether bytes are there on both sides."""
    before = extent.start == 0 or durable.covers(Extent(extent.start - 1, extent.start))
    return before and durable.covers(Extent(extent.end, extent.end + 1))


ANY_SIZE = LeastSize()
