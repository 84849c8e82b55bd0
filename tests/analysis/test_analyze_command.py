"""``kdtune analyze``: from names of runs to tables, figures, metrics and the report."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from finished_search import finished_search
from made_subjects import config
from mlflow import MlflowClient
from typer.testing import CliRunner

from kdtune.analysis import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.figures import label, look, panels
from kdtune.cli import app
from kdtune.report.finding import FoundTable, read_findings
from kdtune.search.analysing import Task
from kdtune.search.finished_runs import finished_runs, labelled
from kdtune.search.kept_measures import content_key
from kdtune.search.subjects import load_subject
from kdtune.tracking import default_tracking_uri, read_journal, read_runs
from kdtune.tracking.events import Tagged
from kdtune.tracking.journal import FOLDER as JOURNAL
from kdtune.tracking.journal import Journal, read_contents


class Sizes(Analysis):
    """Counts parameters, and images that peers share."""

    summary: ClassVar[str] = "How large students are."
    source: ClassVar[str] = "nobody"
    with_peers: ClassVar[bool] = True
    scale: float = 1.0

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        count = sum(each.numel() for each in subject.student.parameters())
        return Measured(
            numbers={"parameters": count * self.scale, "peers": float(len(peers))},
            arrays={"widths": np.array([len(p) for p in subject.student.parameters()])},
        )

    def present(self, items: Sequence[Item]) -> Presented:
        rows = [[item.label, item.measured.numbers["parameters"]] for item in items]
        figure, axes = panels(title="Widths")
        for place, item in enumerate(items):
            axes[0, 0].plot(item.measured.arrays["widths"], label=item.label, **look(place))
        label(axes[0, 0], x="tensor", y="width")
        return Presented(
            tables=[
                Table(title="Sizes", columns=["run", "parameters"], rows=rows, notes=["n = 1"])
            ],
            figures={"widths": figure},
            numbers={item.label: {"rank": float(n)} for n, item in enumerate(items, 1)},
        )


class OfTeachers(Sizes):
    """The same for runs that have a teacher."""

    needs_teacher: ClassVar[bool] = True


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with one search of two distilled students and one without a teacher."""
    storage = tmp_path_factory.mktemp("results")
    store = storage / "teachers"
    configs = [
        config(store, role="finalist", temperature=1.0, train__epochs=1),
        config(store, role="finalist", temperature=4.0, train__epochs=1),
        config(store, role="finalist", method="scratch", train__epochs=1),
    ]
    finished_search(storage, "night", configs)
    return storage


@pytest.fixture
def storage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it where the analyses above can be asked for."""
    entries = {**ANALYSES._entries, "sizes": Sizes, "of_teachers": OfTeachers}
    monkeypatch.setattr(ANALYSES, "_entries", entries)
    return Path(shutil.copytree(made, tmp_path / "results"))


def run(storage: Path, *words: str, code: int = 0) -> str:
    uri = default_tracking_uri(storage)
    result = CliRunner().invoke(
        app, ["analyze", *words, "--storage", str(storage), "--tracking-uri", uri]
    )
    assert result.exit_code == code, result.output
    return result.output


def metrics(storage: Path) -> dict[str, dict[str, float]]:
    """Name of a run -> what analyses logged of it in MLflow."""
    found = read_runs(default_tracking_uri(storage))
    return {
        each.name: {k: each.history[k][-1].value for k in each.history if k.startswith("analysis/")}
        for each in found
    }


def test_numbers_go_to_the_runs_and_figures_to_their_search(storage: Path) -> None:
    told = run(storage, "sizes", "night")
    assert "finalist 3, seed 0" in told
    logged = metrics(storage)
    assert logged["finalist 2, seed 0"]["analysis/sizes/rank"] == 2
    assert logged["finalist 1, seed 0"]["analysis/sizes/peers"] == 2
    (finding, folder) = read_findings(storage / "night")[0]
    assert finding.runs == tuple(f"finalist {n}, seed {s}" for n, s in ((1, 0), (2, 0), (3, 0)))
    assert {file.suffix for file in folder.glob("widths.*")} == {".png", ".svg"}
    assert (folder / "table_1.csv").read_text().startswith("run,parameters\n")
    client = MlflowClient(default_tracking_uri(storage))
    search = next(r for r in read_runs(default_tracking_uri(storage)) if r.name == "night")
    place = folder.relative_to(storage / "night").as_posix()
    names = {each.path for each in client.list_artifacts(search.run_id, place)}
    assert f"{place}/widths.png" in names


def test_one_run_alone_has_its_figures_itself(storage: Path) -> None:
    run(storage, "sizes", "night/finalist-2-*")
    ((_, folder),) = read_findings(storage / "night")
    found = {r.name: r.run_id for r in read_runs(default_tracking_uri(storage))}
    client = MlflowClient(default_tracking_uri(storage))
    place = folder.relative_to(storage / "night").as_posix()
    assert client.list_artifacts(found["finalist 2, seed 0"], place)
    assert not client.list_artifacts(found["night"], place)


def test_what_was_measured_is_not_measured_again(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(storage, "sizes", "night")
    before = read_journal(storage / "night")
    monkeypatch.setattr(Task, "work", lambda task: pytest.fail("measured again"))
    assert "3 of 3 runs had been measured before" in run(storage, "sizes", "night")
    assert read_journal(storage / "night") == before
    monkeypatch.undo()


def test_another_option_is_another_question(storage: Path) -> None:
    run(storage, "sizes", "night")
    run(storage, "sizes", "night", "--set", "scale=2")
    logged = metrics(storage)["finalist 1, seed 0"]
    (one, _), (two, _) = read_findings(storage / "night")
    first, second = (f.numbers["finalist 1, seed 0"]["parameters"] for f in (one, two))
    assert second == 2 * first == logged["analysis/sizes/parameters"]


def test_a_damaged_measure_is_made_again(storage: Path) -> None:
    run(storage, "sizes", "night")
    for file in (storage / "analysis-cache").iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    assert "measured before" not in run(storage, "sizes", "night")
    assert "3 of 3 runs had been measured before" in run(storage, "sizes", "night")


def test_runs_without_a_teacher_are_left_out_where_one_is_needed(storage: Path) -> None:
    told = run(storage, "of_teachers", "night")
    assert "1 of 3 runs have no teacher and are left out" in told
    assert "analysis/of_teachers/rank" not in metrics(storage)["finalist 3, seed 0"]
    told = run(storage, "of_teachers", "night/finalist-3-*", code=2)
    assert "needs runs with a teacher" in told


def test_an_id_of_mlflow_names_a_run_or_a_whole_search(storage: Path) -> None:
    ids = {r.name: r.run_id for r in read_runs(default_tracking_uri(storage))}
    told = run(storage, "sizes", ids["finalist 2, seed 0"])
    assert "finalist 2" in told
    assert "finalist 1" not in told
    assert "finalist 1" in run(storage, "sizes", ids["night"])


def test_only_the_runs_with_a_setting_are_taken(storage: Path) -> None:
    told = run(storage, "sizes", "night", "--only", "temperature=4")
    assert "finalist 2" in told
    assert "finalist 1" not in told
    both = run(storage, "sizes", "night", "--only", "temperature=4", "--only", "temperature=1")
    assert "finalist 1" in both


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sises", "night"], "did you mean 'sizes'?"),
        (["sizes", "nigth"], "did you mean 'night'?"),
        (["sizes", "night/finalist-9-*"], "no student of 'night' is like"),
        (["sizes", "night", "--set", "scala=2"], "did you mean 'scale'?"),
        (["sizes", "night", "--set", "scale=big"], "scale of 'sizes'"),
        (["sizes", "night", "--set", "scale"], "--set takes KEY=VALUE"),
        (["sizes", "night", "--only", "temprature=4"], "did you mean 'temperature'?"),
        (["sizes", "night", "--only", "temperature=5"], "no run has temperature=5"),
        (["sizes", "0" * 32], "no run '"),
        (["sizes", "night", "--device", "tpu"], "--device must be one of"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    storage: Path, words: list[str], said: str
) -> None:
    told = " ".join(run(storage, *words, code=2).split())
    assert said in told
    assert not (storage / "night" / "analysis").exists()


def test_a_lost_teacher_is_told_with_its_key(storage: Path, tmp_path: Path) -> None:
    (run,) = finished_runs(["night/finalist-1-*"], storage=storage, tracking_uri="")
    moved = run.config.model_copy(update={"store": str(tmp_path / "elsewhere")})
    with pytest.raises(ValueError, match=r"the teacher of this run, 'resnet8x0\.5' with key '\w+'"):
        load_subject(replace(run, config=moved), torch.device("cpu"))


def test_the_report_shows_what_was_found(storage: Path) -> None:
    run(storage, "sizes", "night")
    done = CliRunner().invoke(app, ["report", "night", "--storage", str(storage)])
    assert done.exit_code == 0, done.output
    page = (storage / "night" / "report.html").read_text()
    assert 'id="analyses"' in page
    assert "data:image/png;base64," in page
    assert "How large students are" in page


def test_a_finding_that_cannot_be_read_is_passed_over(storage: Path) -> None:
    run(storage, "sizes", "night")
    ((_, folder),) = read_findings(storage / "night")
    content = json.loads((folder / "finding.json").read_text())
    (folder / "finding.json").write_text(json.dumps({**content, "format": 99}))
    assert read_findings(storage / "night") == []


def test_the_list_names_every_analysis_with_its_paper() -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["analyze", "list"])
    assert done.exit_code == 0
    for name in ANALYSES.names():
        assert name in done.output
        assert ANALYSES.get(name).source.split()[0] in done.output


def test_an_analysis_without_runs_is_explained() -> None:
    done = CliRunner().invoke(app, ["analyze", "diffusion_index"])
    assert done.exit_code == 0
    assert "relative centroid distances" in done.output
    assert "similar_share" in done.output


def test_a_mean_and_its_deviation_are_read_as_one() -> None:
    table = FoundTable(
        title="t",
        columns=("run", "loss (nats), mean", "loss (nats), std", "rank"),
        rows=(("a", 0.5, 0.25, 1), ("b", 2.0, None, 2)),
    )
    heads, rows = table.shown()
    assert heads == ["run", "loss (nats) ± std", "rank"]
    assert rows == [["a", "0.5 ± 0.25", "1"], ["b", "2", "2"]]
    assert table.csv().splitlines()[1:] == ["a,0.5,0.25,1", "b,2.0,,2"]


SMALL = ["grid=3", "points=5", "count=40", "steps=2", "batches=1", "examples=2", "batch_size=32"]
"""Options that make every analysis quick; each applies to those that have it."""


def test_every_analysis_is_made_of_a_search_and_logged(made: Path, tmp_path: Path) -> None:
    storage = Path(shutil.copytree(made, tmp_path / "results"))
    run(storage, "all", "night", *(word for each in SMALL for word in ("--set", each)))
    findings = {finding.analysis: folder for finding, folder in read_findings(storage / "night")}
    assert sorted(findings) == ANALYSES.names()
    for name, folder in findings.items():
        assert list(folder.glob("*.svg")), name
    logged = metrics(storage)["finalist 1, seed 0"]
    assert {name.split("/")[1] for name in logged} == {*ANALYSES.names()}


@pytest.mark.ray
def test_a_ray_cluster_measures_the_same(made: Path, tmp_path: Path) -> None:
    found = []
    for name, words in (("here", []), ("there", ["--on-ray", "here"])):
        storage = Path(shutil.copytree(made, tmp_path / name))
        run(storage, "kd_error", "night", *words)
        ((finding, _),) = read_findings(storage / "night")
        found.append(finding.numbers)
    assert found[0] == found[1]


def test_cells_of_a_table_are_called_by_what_tells_them_apart(made: Path, tmp_path: Path) -> None:
    runs = finished_runs(["night"], storage=made, tracking_uri="")
    as_cells = [
        replace(run, record=replace(run.record, tags={**run.record.tags, "kind": "reproduction"}))
        for run in runs
    ]
    labels = [run.label for run in labelled(as_cells)]
    assert labels == ["kd T=1, seed 0", "kd T=4, seed 0", "scratch, seed 0"]


def test_mlflow_is_where_the_search_logs_unless_told(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    finished_search(own, "day", [config(own / "teachers", role="finalist", train__epochs=1)])
    words = ["analyze", "sizes", str(own / "day"), "--storage", str(elsewhere)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "analysis/sizes/rank" in metrics(own)["finalist 1, seed 0"]
    assert not (elsewhere / "mlflow.db").exists()
    # An id is looked up where the environment says.
    (one,) = [each for each in read_runs(default_tracking_uri(own)) if "finalist" in each.name]
    moved = (own / "mlflow.db").rename(tmp_path / "moved.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved}")
    done = CliRunner().invoke(app, ["analyze", "sizes", one.run_id, "--storage", str(own)])
    assert done.exit_code == 0, done.output


def test_tags_of_later_stay(storage: Path) -> None:
    search, uri = storage / "night", default_tracking_uri(storage)
    journal = Journal(search / JOURNAL, read_contents(search).header)
    journal.put(Tagged(key="t1", tags={"search": "renamed"}, time_ms=1))
    journal.close()
    run(storage, "sizes", "night")
    found = next(each for each in read_runs(uri) if each.name == "finalist 1, seed 0")
    assert MlflowClient(uri).get_run(found.run_id).data.tags["search"] == "renamed"


def test_of_several_analyses_one_that_cannot_be_made_is_told_at_the_end(storage: Path) -> None:
    told = run(storage, "of_teachers,sizes", "night/finalist-3-*", code=2)
    assert "of_teachers: left out" in told
    assert "analysis/sizes/rank" in metrics(storage)["finalist 3, seed 0"]


def test_an_option_is_given_once(storage: Path) -> None:
    told = run(storage, "sizes", "night", "--set", "scale=1", "--set", "scale=2", code=2)
    assert "each key once" in told


def test_another_file_of_a_teacher_is_another_question(storage: Path, tmp_path: Path) -> None:
    (run,) = finished_runs(["night/finalist-1-*"], storage=storage, tracking_uri="")
    assert run.config.teacher is not None
    file = tmp_path / "teacher.safetensors"
    teacher = run.config.teacher.model_copy(update={"weights": str(file)})
    own = replace(run, config=run.config.model_copy(update={"teacher": teacher}))
    keys = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        keys.append(content_key(OfTeachers(), own, [], "cpu"))
    assert keys[0] == keys[2] != keys[1]
