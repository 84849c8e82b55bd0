"""``kdtune teachers``: what a person types and reads."""

import os
import re
import threading
import time
from pathlib import Path

import pytest
from click.testing import Result
from stored import flip_a_bit, put, weights_file
from typer.testing import CliRunner

from kdtune.cli import app
from kdtune.storage import Location
from kdtune.teachers.inventory import keys
from kdtune.teachers.store import RECORD, TeacherStore

VERBS = {
    "list": ("--store", "--storage"),
    "show": ("KEY", "--store"),
    "verify": ("KEY", "Exit codes"),
    "prune": ("--older-than", "--keep", "--damaged", "--yes"),
    "import": ("teacher.weights=FILE",),
    "export": ("--to",),
}
DAY_S = 86_400


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    """The store of the searches in ``tmp_path``."""
    return TeacherStore(tmp_path / "teachers")


def run(*words: str, typed: str | None = None) -> Result:
    wide = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["teachers", *words], env=wide, input=typed)


def said(store: TeacherStore, *words: str, code: int = 0, typed: str | None = None) -> str:
    result = run(*words, "--storage", str(Path(store.root).parent), typed=typed)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def aged(store: TeacherStore, key: str, days: float) -> str:
    file = Path(store.root, key, RECORD)
    os.utime(file, (time.time() - days * DAY_S,) * 2)
    return key


def damaged(store: TeacherStore, key: str) -> str:
    folder = store.location.child(key)
    flip_a_bit(folder, weights_file(folder))
    return key


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", run(verb, "--help").output)
    assert all(part in text for part in (*VERBS[verb], "Examples", f"kdtune teachers {verb}"))
    assert "[bold]" not in text
    assert all(re.search(rf"^\W*{each} ", run("--help").output, re.MULTILINE) for each in VERBS)


def test_teachers_are_listed_with_what_they_are(store: TeacherStore) -> None:
    full = aged(store, put(store), 3)
    snapshot = put(store, train__snapshots="10", train__epochs=30)
    short = put(store, train__epochs=10, train__schedule="early_stop", seed=7)
    (Path(store.root) / "signals").mkdir()
    result = run("list", "--storage", str(Path(store.root).parent))
    rows = {line.split()[0]: line for line in result.output.splitlines() if line.strip()}
    assert {full, snapshot, short} < rows.keys()
    assert "signals" not in rows
    assert re.search(r"resnet8 +cats +30 +0.1 +standard +0 +92.50 .*3 d", rows[full])
    assert "10 of 30" in rows[snapshot]
    assert "10, short" in rows[short]


def test_an_empty_store_is_no_error(store: TeacherStore) -> None:
    assert said(store, "list") == f"No teachers in '{store.root}'."
    assert said(store, "verify") == "0 of 0 teachers are sound."
    assert said(store, "prune") == f"Nothing to delete in '{store.root}'."


def test_a_store_may_lie_anywhere(tmp_path: Path) -> None:
    key = put(TeacherStore(tmp_path / "shared"))
    assert key in run("list", "--store", str(tmp_path / "shared")).output


def test_one_teacher_is_shown_whole(store: TeacherStore) -> None:
    key = put(store)
    text = said(store, "show", key[:5])
    shown = (f"{store.root}/{key}", "sound", "92.50 %", "parquet:/data/cats", "fingerprint f")
    assert all(part in text for part in (*shown, "method.label_smoothing 0.1", "device cpu"))
    damaged(store, key)
    assert "damaged: the sha256" in said(store, "show", key)


@pytest.mark.parametrize("verb", ["show", "verify", "export"])
def test_a_mistyped_key_is_bad_input(store: TeacherStore, verb: str, tmp_path: Path) -> None:
    key = put(store)
    more = ("--to", str(tmp_path / "x.safetensors")) if verb == "export" else ()
    assert f"the nearest are {key}" in said(store, verb, "xyz", *more, code=2)


def test_verifying_says_which_are_damaged_and_exits_with_1(store: TeacherStore) -> None:
    sound, broken = put(store), damaged(store, put(store, seed=1))
    text = said(store, "verify", code=1)
    assert f"{broken} is damaged: the sha256 of its weights" in text
    assert "1 of 2 teachers are sound." in text
    assert said(store, "verify", sound) == "1 of 1 teachers are sound."
    assert "0 of 1" in said(store, "verify", broken, broken, code=1)


def test_pruning_deletes_what_no_trial_can_use(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdtune.teachers.store.SCHEMA", 2)
    outdated = put(store)
    monkeypatch.undo()
    sound, broken = aged(store, put(store), 900), damaged(store, put(store, seed=1))
    Path(store.root, "0" * 16).mkdir()
    Path(store.root, "0" * 16, ".draft-1").write_bytes(b"half")
    Path(store.root, f"{'1' * 16}.lock").touch()
    text = said(store, "prune", "--yes")
    assert f"{outdated} " in text
    assert "of another version of kdtune" in text
    assert f"{broken} " in text
    assert "its writing was cut short" in text
    assert "3 teachers and 1 leftover deleted." in text
    assert keys(store) == [sound]
    assert not Path(store.root, f"{'1' * 16}.lock").exists()


def test_pruning_asks_first(store: TeacherStore) -> None:
    key = damaged(store, put(store))
    assert "Delete them? [y/N]" in said(store, "prune", typed="n\n", code=1)
    assert "Delete them? [y/N]" in said(store, "prune", code=1)
    assert keys(store) == [key]
    assert "1 teacher and 0 leftovers deleted." in said(store, "prune", typed="y\n")
    assert keys(store) == []


CHOICES = {
    "by age": (("--older-than", "5"), {0, 1}),
    "but for the latest": (("--keep", "3"), {0, 1, 2}),
    "both": (("--older-than", "0.5", "--keep", "1"), {0}),
    "none is old": (("--older-than", "1000"), {0, 1, 2, 3}),
    "all": (("--keep", "0"), set()),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_sound_teachers_go_as_asked(store: TeacherStore, choice: str) -> None:
    words, left = CHOICES[choice]
    stored = [aged(store, put(store, seed=number), 4 * number) for number in range(4)]
    said(store, "prune", "--yes", *words)
    assert set(keys(store)) == {stored[number] for number in left}


def test_of_damaged_ones_alone_nothing_else_goes(store: TeacherStore) -> None:
    sound, _ = put(store), damaged(store, put(store, seed=1))
    Path(store.root, f"{'1' * 16}.lock").touch()
    said(store, "prune", "--damaged", "--yes")
    assert keys(store) == [sound]
    assert Path(store.root, f"{'1' * 16}.lock").exists()
    assert "drop --older-than and --keep" in said(store, "prune", "--damaged", "--keep=1", code=2)


def test_a_teacher_in_training_stays_and_the_others_go(store: TeacherStore) -> None:
    busy, idle = put(store), put(store, seed=1)
    ready, over = threading.Event(), threading.Event()

    def train() -> None:
        with store.lock(busy):
            ready.set()
            over.wait(60)

    trainer = threading.Thread(target=train)
    trainer.start()
    ready.wait(60)
    text = said(store, "prune", "--keep", "0", "--yes")
    over.set()
    trainer.join()
    assert f"teacher {busy} in '{store.root}' is being trained by another process; it stays" in text
    assert "1 teacher and 0 leftovers deleted." in text
    assert keys(store) == [busy]
    assert idle not in store


def test_a_teacher_goes_from_one_store_to_another(store: TeacherStore, tmp_path: Path) -> None:
    key, file = put(store), tmp_path / "teacher.safetensors"
    assert said(store, "export", key[:6], "--to", str(file)) == f"Teacher {key} is in '{file}'."
    other = TeacherStore(tmp_path / "other" / "teachers")
    assert f"{key} is stored in '{other.root}'" in said(other, "import", str(file))
    assert f"{key} was stored already" in said(other, "import", str(file))
    assert other.read_bytes(key) == store.read_bytes(key)


def test_bare_weights_are_bad_input(store: TeacherStore) -> None:
    key = put(store)
    file = Path(store.root, key, weights_file(Location.parse(store.root).child(key)))
    assert f"teacher.weights={file}" in said(store, "import", str(file), code=2)
