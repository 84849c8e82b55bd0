"""Jobs on a cluster: submit, status, stop."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from kdtune.cli.app import app, bad_input, fail, table
from kdtune.cluster.jobs import DASHBOARD

if TYPE_CHECKING:
    from kdtune.cluster.jobs import Client, Job

EXIT_INTERRUPTED = 130
LAST_LINES = 15
SUBMIT_HELP = """
Run a kdtune command on a Ray cluster, and show what it prints.

The driver runs on the cluster's head with the code that you have here, and goes on when you \
disconnect or press Ctrl-C. The cluster is the address of its dashboard, or the file that 'ray up' \
was given; the way to it is then opened and closed again.

[bold]Examples[/bold]

  kdtune submit cluster.yaml -- search joint --storage s3://BUCKET/kdtune --gpus-per-trial 1 \
--max-concurrent 8

  kdtune submit http://127.0.0.1:8265 -- search quickstart --storage /shared/results

  kdtune submit --detach cluster.yaml -- resume NAME --storage s3://BUCKET/kdtune

[bold]Exit codes[/bold]: those of the command itself; 2 bad input, nothing was started; 130 \
Ctrl-C, the job goes on; 143 the job was stopped.
"""
STATUS_HELP = """
The jobs of a cluster, or one of them with the last lines of its log.

[bold]Examples[/bold]

  kdtune status

  kdtune status search-20260101-120000-1a2b --follow

  kdtune status --address cluster.yaml
"""
STOP_HELP = """
End a job in order: SIGTERM, so that a search writes its checkpoints and marks, then wait.

What has not ended after five minutes is killed by Ray. 'kdtune resume' goes on with a search.

[bold]Examples[/bold]

  kdtune stop search-20260101-120000-1a2b

  kdtune stop search-20260101-120000-1a2b --address cluster.yaml
"""

Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", help="Of the dashboard, or the file of 'ray up'."
    ),
]


@app.command(help=SUBMIT_HELP, context_settings={"allow_interspersed_args": False})
def submit(
    cluster: Annotated[str, typer.Argument(metavar="ADDRESS|FILE")],
    command: Annotated[list[str], typer.Argument(metavar="-- VERB ...", help="Without 'kdtune'.")],
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its output.")] = False,
) -> None:
    """Submit a job; ``--help`` shows SUBMIT_HELP."""
    from kdtune.cli import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT
    from kdtune.cluster import jobs

    with bad_input():
        arguments = _arguments(command[1:] if command[0] == "--" else command)
        with _client(cluster) as client:
            job = jobs.submit(client, arguments, environment=RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT)
            typer.echo(f"job {job}", err=True)
            if detach:
                typer.echo(_ways_back(job, cluster), err=True)
                return
            code = _follow(client, job, cluster)
    raise typer.Exit(code)


@app.command(help=STATUS_HELP)
def status(
    job: Annotated[str | None, typer.Argument(help="By default all.")] = None,
    address: Address = DASHBOARD,
    follow: Annotated[bool, typer.Option("--follow", help="Show its log as it grows.")] = False,
) -> None:
    """Show jobs; ``--help`` shows STATUS_HELP."""
    from kdtune.cluster import jobs

    with bad_input():
        if follow and job is None:
            raise ValueError("--follow needs the JOB to follow; 'kdtune status' lists them")
        with _client(address) as client:
            if job is None:
                _list(jobs.jobs(client))
                return
            found = jobs.find(client, job)
            if follow:
                raise typer.Exit(_follow(client, job, address))
            log = client.get_job_logs(job).splitlines()[-LAST_LINES:]
    _list([found])
    typer.echo("\n".join([found.message, found.command, "", *log]))


@app.command(help=STOP_HELP)
def stop(job: Annotated[str, typer.Argument()], address: Address = DASHBOARD) -> None:
    """Stop a job; ``--help`` shows STOP_HELP."""
    from kdtune.cluster import jobs

    with bad_input(), _client(address) as client:
        found = jobs.find(client, job)
        if found.over:
            typer.echo(f"{job} was over already: {found.status}")
            return
        jobs.stop(client, job)
        typer.echo(f"{job} was told to end; waiting for it", err=True)
        found = jobs.wait(client, job, seconds=jobs.GRACE_SECONDS + 10)
    if not found.over:
        raise fail(f"{job} is {found.status} still; see 'kdtune status {job}'", code=1)
    typer.echo(f"{job}: {found.status}")


@contextmanager
def _client(cluster: str) -> "Iterator[Client]":
    """A connection to a cluster, by the address of its dashboard or its launcher's file."""
    from kdtune.cluster.jobs import connect
    from kdtune.cluster.tunnel import tunnel

    if "://" in cluster:
        yield connect(cluster)
        return
    if not Path(cluster).is_file():
        raise ValueError(
            f"'{cluster}' is neither a file of 'ray up' nor an address such as {DASHBOARD}"
        )
    with tunnel(Path(cluster)) as address:
        yield connect(address)


def _arguments(command: list[str]) -> list[str]:
    """The command as the cluster runs it, its options checked here, before anything is sent.

    Raises:
        ValueError: If there is no such verb, or the results would lie in the job's own folder.
    """
    from kdtune.registry import nearest

    verbs: Any = typer.main.get_command(app)
    known = set(verbs.commands) - {"submit", "status", "stop"}
    if command[0] not in known:
        raise ValueError(f"no command '{command[0]}' for a cluster{nearest(command[0], known)}")
    verb = verbs.commands[command[0]]
    options = {option.name for option in verb.params}
    if "address" not in options:
        return command
    asked = verb.make_context(f"kdtune {command[0]}", command[1:]).params
    storage = str(asked["storage"])
    if not (os.path.isabs(storage) or ":/" in storage):
        raise ValueError(
            f"--storage is '{storage}' in the folder of the job, which goes with the cluster; give "
            "one that all nodes share: s3://BUCKET/kdtune, or an absolute path"
        )
    return command if asked["address"] else [*command, "--address", "auto"]


def _follow(client: "Client", job: str, cluster: str) -> int:
    """Show a job's log until it is over; the exit code."""
    from kdtune.cluster import jobs

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        jobs.follow(client, job, write)
        found = jobs.wait(client, job, seconds=10)
    except KeyboardInterrupt:
        typer.echo(f"\nthe job goes on.\n{_ways_back(job, cluster)}", err=True)
        return EXIT_INTERRUPTED
    except ConnectionError as problem:
        raise fail(f"{problem}; the job goes on.\n{_ways_back(job, cluster)}", code=1) from None
    if found.exit_code != 0:
        typer.echo(f"job {job}: {found.status}. {found.message}", err=True)
    return 1 if found.exit_code is None else found.exit_code


def _ways_back(job: str, cluster: str) -> str:
    where = "" if cluster == DASHBOARD else f" --address {cluster}"
    return f"see it: kdtune status {job} --follow{where}\nend it: kdtune stop {job}{where}"


def _list(found: "list[Job]") -> None:
    shown = table("job", "status", "since", "took", "command")
    shown.columns[0].no_wrap = True  # it is what the other verbs want
    shown.columns[4].no_wrap = True
    for job in found:
        since = job.started.astimezone().strftime("%m-%d %H:%M") if job.started else "-"
        took = (job.ended or datetime.now(UTC)) - job.started if job.started else None
        length = str(took).split(".")[0] if took else "-"
        command = job.command.removeprefix("python -m ")
        shown.add_row(job.id, job.status, since, length, escape(command))
    Console().print(shown if found else "no jobs")
