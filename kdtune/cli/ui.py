"""The MLflow UI."""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kdtune.cli.app import app, fail

OWN_NAMES = "localhost,localhost:*,127.0.0.1,127.0.0.1:*,[::1],[::1]:*"
"""Names by which a browser may ask for a server of this machine. MLflow's own list has ``10.*``
too, which a name such as ``10.example.org`` fits that leads here by DNS rebinding."""


@app.command()
def ui(
    storage: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("kdtune-results"),
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="By default in the storage.")
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to bind to; others than this machine's can read and change all runs."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the results; ends with Ctrl-C."""
    from kdtune.tracking import resolve_tracking_uri, without_credentials

    if tracking_uri is None and not (storage / "mlflow.db").is_file():
        raise fail(f"no results in '{storage}'; run 'kdtune search' first, or give --storage")
    uri = resolve_tracking_uri(tracking_uri, None, storage.absolute())
    if uri.startswith(("http://", "https://")):
        typer.echo(f"the runs are on a server already: {without_credentials(uri)}")
        return
    if not host:
        raise fail("--host must name an address to bind to, got ''; 0.0.0.0 is all of them")
    if is_of_this_machine(host):
        os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", OWN_NAMES)
    else:
        typer.echo(f"warning: whoever reaches {host}:{port} can read and change all runs", err=True)
    typer.echo(f"MLflow UI on http://{host}:{port} (Ctrl-C ends it)")
    # One worker and no job runner: the UI alone is wanted, and starts in a tenth of the time.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # Not among the arguments, which every user of the machine can read.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    command = ["mlflow", "ui", "--workers", "1", "--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])


def is_of_this_machine(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
