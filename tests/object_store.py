"""A real S3 server on this machine that a test may stop and start again."""

import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kdtune.storage import Location

BUCKET = "bucket"


class ObjectStore:
    """moto's S3 server in a thread, with one bucket; what it holds outlives its stops."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._make = ThreadedMotoServer
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        url = f"http://127.0.0.1:{self.port}/{BUCKET}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"))

    def stop(self) -> None:
        """Let every request fail."""
        self._server.stop()

    def start(self) -> None:
        """Serve again, on the same port."""
        self._server = self._make(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def location(self, path: str, *, bucket: str = BUCKET) -> Location:
        """A folder in the bucket."""
        query = f"endpoint_override=127.0.0.1:{self.port}&scheme=http"
        return Location.parse(f"s3://{bucket}/{path}?{query}")


@contextmanager
def serving(cache: Path) -> Iterator[ObjectStore]:
    """An object store, the credentials for it, and ``cache`` for what kdtune keeps of it here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("XDG_CACHE_HOME", os.fspath(cache))
        store = ObjectStore()
        yield store
        store.stop()
