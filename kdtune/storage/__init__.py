"""Storage: folders and object stores as one kind of place, held by one driver at a time."""

from kdtune.storage.claim import Claim, Claimed
from kdtune.storage.location import FileFacts, Location, StorageError
from kdtune.storage.mirror import Mirror, MirrorReport, download, fetch

__all__ = [
    "Claim",
    "Claimed",
    "FileFacts",
    "Location",
    "Mirror",
    "MirrorReport",
    "StorageError",
    "download",
    "fetch",
]
