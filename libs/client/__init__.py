"""The Python client of HiPER-Automotive and the `hiper` command."""

from libs.client.client import HiperClient
from libs.client.errors import HiperError
from libs.client.models import Device, DownloadResult, FileEntry, NewDevice, Outcome, Status, UploadResult

__all__ = [
    "Device",
    "DownloadResult",
    "FileEntry",
    "HiperClient",
    "HiperError",
    "NewDevice",
    "Outcome",
    "Status",
    "UploadResult",
]
