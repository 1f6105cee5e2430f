"""How a remote file is addressed."""

import unicodedata
from typing import NamedTuple, Self
from urllib.parse import quote

from libs.client.errors import HiperError


class RemoteFile(NamedTuple):
    """A file's name, which may hold folders, and its owner; without one, the owner is the device that asks."""

    filename: str
    owner: str | None = None

    @classmethod
    def of(cls, filename: str, owner: str | None) -> Self:
        """Raises HiperError for a name that no address can carry; the server judges all others.

        Names are in NFC there, whatever form the local file system prefers (macOS gives NFD)."""
        try:
            filename.encode()
        except UnicodeEncodeError:
            raise HiperError(f"the name {filename!r} is not valid Unicode", "give another: --name") from None
        if any(segment in {"", ".", ".."} for segment in filename.split("/")):
            raise HiperError(f"{filename!r} cannot be a file's name", "a name leads down, such as drives/0417.mcap")
        return cls(unicodedata.normalize("NFC", filename), owner)

    @property
    def path(self) -> str:
        """The percent-encoded path of the file below the server's address."""
        return f"/files/{quote(self.filename, safe='/')}"

    @property
    def query(self) -> dict[str, str]:
        return {"owner": self.owner} if self.owner is not None else {}
