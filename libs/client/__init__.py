"""The Python client of HiPER-Automotive and the `hiper` command."""

from libs.client.client import HiperClient
from libs.client.errors import HiperError
from libs.client.models import Device, DownloadResult, FileEntry, NewDevice, Outcome, Status, UploadResult
from libs.client.models_fleet import FleetChange, UploadEntry

__all__ = [
    "Device",
    "DownloadResult",
    "FileEntry",
    "FleetChange",
    "HiperClient",
    "HiperError",
    "NewDevice",
    "Outcome",
    "Status",
    "UploadEntry",
    "UploadResult",
]
