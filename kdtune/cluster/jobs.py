"""Commands as jobs of a Ray cluster: the driver runs on its head, and outlives the connection."""

import logging
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from kdtune.registry import nearest

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

    Client = JobSubmissionClient

DASHBOARD = "http://127.0.0.1:8265"
"""Where ``ray dashboard`` and ``kubectl port-forward`` show a cluster's dashboard."""

GRACE_SECONDS = 300
"""How long a stopped job may write checkpoints before Ray kills it; Ray's default is 3 s."""

CONNECT_SECONDS = 5
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
_ENDED = {"STOPPED", "SUCCEEDED", "FAILED"}
EXIT_STOPPED = 143


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that a cluster knows.

    Args:
        id: What it was submitted as.
        status: ``PENDING``, ``RUNNING``, ``STOPPED``, ``SUCCEEDED`` or ``FAILED``.
        command: Its entrypoint.
        message: Ray's, on the status.
        started: None before it started.
        ended: None before it ended.
        exit_code: 0 for success, the driver's own, 143 if it was stopped; None before the end.
    """

    id: str
    status: str
    command: str
    message: str
    started: datetime | None
    ended: datetime | None
    exit_code: int | None

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in _ENDED

    @classmethod
    def of(cls, details: "JobDetails") -> Self:
        """The job that Ray describes."""
        status = details.status.value
        codes = {"SUCCEEDED": 0, "STOPPED": EXIT_STOPPED, "FAILED": details.driver_exit_code or 1}
        return cls(
            id=details.submission_id or "",
            status=status,
            command=details.entrypoint,
            message=details.message or "",
            started=_time(details.start_time),
            ended=_time(details.end_time),
            exit_code=codes.get(status),
        )


def connect(address: str) -> "Client":
    """A connection to the job server of a cluster.

    Args:
        address: Of its dashboard, as ``http://127.0.0.1:8265``.

    Raises:
        ValueError: If it is no such address, nothing answers there within 5 s, or it wants a token.
    """
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as problem:
        raise ValueError(
            f"nothing answers at {address} ({problem}); is the tunnel open? 'ray dashboard "
            "cluster.yaml' or 'kubectl port-forward' makes one"
        ) from None
    _present_token(address)
    try:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient
    except ImportError as problem:
        raise _without_extra(problem) from None
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with _no_other_address():
            return JobSubmissionClient(address)
    except RayError as problem:
        raise ValueError(
            f"the cluster at {address} does not let us in: {str(problem).splitlines()[0]}. Set "
            "RAY_AUTH_MODE=token, and have its token in ~/.ray/auth_token"
        ) from None
    except (RuntimeError, OSError, ValueError, KeyError) as problem:
        if "ray[default]" in str(problem):
            raise _without_extra(problem) from None
        raise ValueError(
            f"no Ray dashboard at {address} ({type(problem).__name__}: {problem}); its port is "
            "8265 unless it was started with another, and it needs kdtune[cluster] on the head"
        ) from None


def submit(client: "Client", arguments: Sequence[str], *, environment: Mapping[str, str]) -> str:
    """Start ``kdtune`` with ``arguments`` on the cluster, with this kdtune's code; the job's id.

    Args:
        client: Of the cluster.
        arguments: What follows ``kdtune`` on a command line.
        environment: Variables of the driver and of its workers.
    """
    from kdtune.search.cluster import runtime_env

    # The driver ships its code to the workers itself, from where the cluster unpacked it.
    own = {
        "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_SECONDS),
        "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
    }
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    job: str = client.submit_job(
        entrypoint=shlex.join(["python", "-m", "kdtune", *arguments]),
        submission_id=f"{arguments[0]}-{now}-{secrets.token_hex(2)}",
        runtime_env={**runtime_env(), "env_vars": {**environment, **own}},
    )
    return job


def jobs(client: "Client") -> list[Job]:
    """All jobs that were submitted to the cluster, the newest first."""
    submitted = [Job.of(details) for details in client.list_jobs() if details.submission_id]
    return sorted(submitted, key=lambda job: job.started or datetime.max.replace(tzinfo=UTC))[::-1]


def find(client: "Client", name: str) -> Job:
    """The job called ``name``.

    Raises:
        ValueError: If the cluster knows none; the message has the nearest.
    """
    known = {job.id: job for job in jobs(client)}
    if name not in known:
        raise ValueError(f"no job '{name}' at {client.get_address()}{nearest(name, known)}")
    return known[name]


def follow(client: "Client", name: str, write: Callable[[str], None]) -> None:
    """Write a job's log from its beginning, as it grows, until the job is over.

    Raises:
        ConnectionError: If the connection breaks; the job goes on.
    """
    import asyncio

    import aiohttp

    async def listen() -> None:
        async for text in client.tail_job_logs(name):
            write(text)

    try:
        asyncio.run(listen())
    except (RuntimeError, OSError, aiohttp.ClientError) as problem:
        raise ConnectionError(f"the connection broke: {problem}") from problem


def stop(client: "Client", name: str) -> None:
    """Ask a job to end: SIGTERM now, and SIGKILL if that takes longer than it was granted."""
    client.stop_job(name)


def wait(client: "Client", name: str, *, seconds: float) -> Job:
    """The job once it is over, or as it is after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        job = Job.of(client.get_job_info(name))
        if job.over or time.monotonic() > deadline:
            return job
        time.sleep(0.3)  # Ray tells nobody when a job ends


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme == "ray":
        raise ValueError(
            f"'{address}' is of Ray Client, which would run the driver here and lose the search "
            f"with the connection; give the dashboard's address, as {DASHBOARD}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"an address must look like {DASHBOARD}, got '{address}'")
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _present_token(address: str) -> None:
    """Have Ray show its token to the cluster, if there is one and nobody on the way can read it."""
    parts = urlsplit(address)
    private = parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")
    kept = os.path.expanduser("~/.ray/auth_token")
    told = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if private and (told or os.path.isfile(kept)):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported


@contextmanager
def _no_other_address() -> Iterator[None]:
    """Inside, the address that was asked for counts: Ray prefers the environment's to it."""
    kept = {key: os.environ.pop(key) for key in _ADDRESSES if key in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _without_extra(problem: Exception) -> ValueError:
    return ValueError(f"jobs need more of Ray ({problem}): pip install 'kdtune[cluster]'")


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
