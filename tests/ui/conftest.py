"""The real server and a real browser, started once for all tests here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = "KDTUNE_SCREENSHOTS"
"""Names a folder that the tests leave their pictures in."""
START_S = 60.0
WAIT_MS = 90_000
WINDOW = {"width": 1600, "height": 1000}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        expect.set_options(timeout=WAIT_MS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=WINDOW)
    page.set_default_timeout(WAIT_MS)
    yield page
    page.close()


@pytest.fixture
def picture(page: Page) -> Callable[[str], None]:
    """Keeps a picture of the page under a name, if anybody asked for pictures."""
    folder = os.environ.get(SCREENSHOTS)

    def keep(name: str) -> None:
        if folder:
            page.set_viewport_size(WINDOW)
            page.screenshot(path=Path(folder, f"{name}.png"))

    return keep


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], str]]:
    """Serves a storage folder by ``kdtune ui``, bound to this machine; the address of the UI."""
    log = tmp_path_factory.mktemp("server") / "ui.log"
    started: list[subprocess.Popen[bytes]] = []

    def serve(storage: Path) -> str:
        port = _free_port()
        command = [sys.executable, "-c", "from kdtune.cli import main; main()", "ui"]
        command += ["--storage", str(storage), "--port", str(port)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with log.open("wb") as output:
            server = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its workers end with it
            )
        started.append(server)
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", server, log)
        return address

    yield serve
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(address, timeout=START_S).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"kdtune ui did not start:\n{log.read_text()}")
