"""The MLflow UI."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kdtune.cli.app import app, fail


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
    from kdtune.tracking import resolve_tracking_uri

    if tracking_uri is None and not (storage / "mlflow.db").is_file():
        raise fail(f"no results in '{storage}'; run 'kdtune search' first, or give --storage")
    uri = resolve_tracking_uri(tracking_uri, None, storage.absolute())
    if uri.startswith(("http://", "https://")):
        typer.echo(f"the runs are on a server already: {uri}")
        return
    if host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo(f"warning: whoever reaches {host}:{port} can read and change all runs", err=True)
    typer.echo(f"MLflow UI on http://{host}:{port} (Ctrl-C ends it)")
    # One worker and no job runner: the UI alone is wanted, and starts in a tenth of the time.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    command = ["mlflow", "ui", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", *command])
