"""Passwords, keys and tokens reach no journal, run, report, log or error message."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdtune.config import ConfigError, decode, parse
from kdtune.credentials import without_credentials
from kdtune.report.page import report_page
from kdtune.search.requesting import build_request
from kdtune.tracking import MLflowSink, default_tracking_uri, read_journal, read_search, replay
from kdtune.tracking.events import DatasetUse
from kdtune.tracking.journal import read_contents

SECRET = "hunter2hunter2hunter2"
KEY_ID = "AKIAABCDEFGHIJKLMNOP"
CARRIERS = {
    "password": f"http://me:{SECRET}@host:5000/x",
    "password with signs": f"http://me:a@/{SECRET}@host:5000/x",
    "token as user": f"https://{SECRET}@host/x",
    "database": f"postgresql+psycopg2://kdtune:{SECRET}@db.example.org:5432/mlflow",
    "database option": f"postgresql://db/mlflow?user=me&password={SECRET}&x=1",
    "signed URL": f"https://b.s3.amazonaws.com/k?X-Amz-Credential={KEY_ID}%2F1&X-Amz-Signature="
    f"{SECRET}&X-Amz-Security-Token={SECRET}",
    "old signed URL": f"https://b/k?AWSAccessKeyId={KEY_ID}&Signature={SECRET}&Expires=1",
    "shared access": f"https://a.blob.core.windows.net/c?sv=1&sig={SECRET}",
    "pyarrow": f"s3://bucket/x?access_key={KEY_ID}&secret_key={SECRET}",
    "environment": f"MLFLOW_TRACKING_PASSWORD={SECRET} AWS_SECRET_ACCESS_KEY='{SECRET}' kdtune",
    "header": f"Authorization: Bearer {SECRET}",
    "basic header": f"{{'Authorization': 'Basic {SECRET}'}}",
    "JSON": f'{{"aws_secret_access_key": "{SECRET}"}}',
    "key alone": f"denied for {KEY_ID}",
    "token alone": f"hf_{SECRET}",
}


@pytest.mark.parametrize("text", CARRIERS.values(), ids=CARRIERS)
def test_credentials_are_blanked_out_once_and_for_all(text: str) -> None:
    shown = without_credentials(f"cannot reach {text} now")
    assert SECRET not in shown
    assert KEY_ID not in shown
    assert "***" in shown
    assert shown.startswith("cannot reach ")
    assert shown.endswith(" now")
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("sqlite:////a b/mlflow.db", "http://127.0.0.1:5000/#/experiments/1", "parquet:data/x"),
        *("s3://bucket/a@b/c?region=eu-west-1", "models:/name@alias", "me@example.org"),
        *("http://host:5000/a@b", "kdtune search --set alpha=0.5 --set train.lr=1e-3", "signal=9"),
        *("the secret of a token: no password", "search.tokens", "basic research", "a=b", ""),
    ],
)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert without_credentials(text) == text


@given(st.text(max_size=60))
def test_blanking_out_never_fails_and_is_done_once(text: str) -> None:
    shown = without_credentials(text)
    assert without_credentials(shown) == shown


@pytest.mark.parametrize("text", CARRIERS.values(), ids=CARRIERS)
def test_a_configuration_holds_no_credentials(text: str) -> None:
    calls = (
        lambda: parse({"dataset": f"parquet:{text}"}),
        lambda: decode({"teacher.weights": text}),
        lambda: build_request(
            "quickstart",
            shortcuts={},
            settings=[f"data.root={text}"],
            name=None,
            storage=Path("/nowhere"),
            tracking_uri=None,
            experiment=None,
            gpus_per_trial=0.0,
            cpus_per_trial=1,
            seed=0,
        ),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="must hold no credentials") as error:
            call()
        assert SECRET not in str(error.value)
        assert KEY_ID not in str(error.value)


def everything_in(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("carrier", ["password", "signed URL", "environment"])
def test_nothing_that_a_search_leaves_behind_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, carrier: str
) -> None:
    """A sink that is told secrets in every way, on a server that is away, then on a database."""
    text, folder = CARRIERS[carrier], tmp_path / "search"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    caplog.set_level(logging.DEBUG)
    sink = MLflowSink(
        tracking_uri=f"http://me:{SECRET}@127.0.0.1:9",
        experiment="e",
        run_name="r",
        params={"search.sampler": text, "dataset": "digits"},
        tags={"kind": "search", "command": f"kdtune search --tracking-uri {text}"},
        note=f"`kdtune search {text}`",
        inputs=[DatasetUse(name="digits", digest="d", context="train", source="digits")],
        journal=folder / "journal",
    )
    own = {"kind": "trial", "trial": "0"}
    sink.start_run("a", name="trial 0", params={"method": "kd", "dataset": text}, tags=own)
    sink.end_run("a", outcome="failed", tags={"error": f"OSError: no answer from {text}"})
    sink.tag("a", {"also": text})
    sink.end("finished")
    report = sink.close(1.0)
    assert report.lost
    uri = default_tracking_uri(tmp_path)
    found = read_contents(folder)
    replayed = replay(
        found.events,
        tracking_uri=uri,
        experiment="e",
        search_id=found.header.search_id,
        base=folder,
    )
    assert not replayed.lost
    page = report_page(read_journal(folder), folder=folder)
    run = read_search(uri, replayed.run_id)
    (folder / "report.html").write_text(page, encoding="utf-8")
    for kept in (everything_in(tmp_path), repr(run).encode(), str(report).encode()):
        assert SECRET.encode() not in kept
        assert KEY_ID.encode() not in kept
    assert SECRET not in caplog.text
    assert "***" in run.runs[0].tags["error"]
