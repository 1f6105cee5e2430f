"""The XML that S3 speaks (https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html)."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from libs.common.storage import ObjectInfo, PartInfo

_NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, and what parsers change


class Document:
    """A parsed answer. Raises ValueError for what is not XML."""

    def __init__(self, text: bytes) -> None:
        try:
            # The store's own answer, and expat (2.4.1 on, in every supported Python) bounds entities.
            self._root = ET.fromstring(text.strip())  # noqa: S314  # for the reason above
        except ET.ParseError:
            raise ValueError("the store's answer is not XML") from None
        name, brace, local = self._root.tag.rpartition("}")
        self._space = name + brace
        self.tag = local

    def text(self, name: str) -> str:
        return self._root.findtext(self._space + name) or ""

    def records(self, name: str, *fields: str) -> Iterator[list[str]]:
        """Of every element of that name, the text of the named children."""
        wanted = [self._space + each for each in fields]
        for element in self._root.iterfind(self._space + name):
            yield [element.findtext(each) or "" for each in wanted]


def listed_objects(answer: Document) -> list[ObjectInfo]:
    """Of a ListObjectsV2 answer with encoding-type=url."""
    return [
        ObjectInfo(unquote_plus(key), int(size), datetime.fromisoformat(modified).timestamp())
        for key, size, modified in answer.records("Contents", "Key", "Size", "LastModified")
    ]


def listed_parts(answer: Document) -> list[PartInfo]:
    return [
        PartInfo(int(number), int(size), etag.strip('"'), datetime.fromisoformat(modified).timestamp())
        for number, size, etag, modified in answer.records("Part", "PartNumber", "Size", "ETag", "LastModified")
    ]


def can_carry(key: str) -> bool:
    """Whether XML can name a key: S3 itself takes names that its XML cannot."""
    return not _NOT_IN_XML.search(key)


def deletion(keys: Sequence[str], etag: str = "") -> bytes:
    """The body of DeleteObjects; the answer names only keys that could not be deleted. `etag`: only objects that have
    it (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html)."""
    condition = f"<ETag>{escape(etag)}</ETag>" if etag else ""
    objects = "".join(f"<Object><Key>{escape(key)}</Key>{condition}</Object>" for key in keys)
    return f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()


def completion(parts: Sequence[PartInfo]) -> bytes:
    rows = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{escape(part.etag)}&quot;</ETag></Part>"
        for part in parts
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def location(region: str) -> bytes:
    """The body of CreateBucket; us-east-1 is the place that has no name."""
    if region == "us-east-1":
        return b""
    constraint = f"<LocationConstraint>{escape(region)}</LocationConstraint>"
    return f"<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>".encode()
