"""Which finished runs a user means: those that a search, or the like, saved the students of."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from kdtune.config import ConfigError, TrialConfig, decode, parse
from kdtune.contracts import FlatConfig
from kdtune.registry import nearest
from kdtune.report.settings import AXES, describe, others
from kdtune.search.kept_students import FOLDER, INDEX
from kdtune.tracking import RunRecord, canonical_params, read_journal, read_runs
from kdtune.tracking.journal import journal_folder

CARD = "student.json"
RUN_ID_LENGTH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A run whose student was kept.

    Attributes:
        label: What a person calls it; unique among those that were asked for.
        search: Folder of the results that it is part of.
        student: Folder of its student.
        record: All that it logged; ``record.key`` names it within its search.
        config: What was run.
    """

    label: str
    search: Path
    student: Path
    record: RunRecord
    config: TrialConfig


def finished_runs(asked: Sequence[str], *, storage: Path, tracking_uri: str) -> list[FinishedRun]:
    """The runs that ``asked`` names, each once, in that order.

    Args:
        asked: Each a search's name or the folder of its results (all of its students),
            ``NAME/PATTERN`` (those whose folder is like ``finalist-1-*``), the folder of a saved
            student, or MLflow's id of a run or of a search.
        storage: Folder of all results.
        tracking_uri: Of MLflow, for ids.

    Raises:
        ValueError: If nothing goes by such a name, or its configuration is none of a training.
    """
    found: dict[Path, FinishedRun] = {}
    for name in asked:
        for run in _named(name, storage, tracking_uri):
            found.setdefault(run.student, run)
    return labelled(list(found.values()))


def labelled(runs: list[FinishedRun]) -> list[FinishedRun]:
    """``runs`` with labels that tell them apart, by settings where the runs are cells of a table.

    A search names its runs by rank; the number of a cell says nothing to a reader.
    """
    flat = [run.config.flat() for run in runs]
    keys = ["method", *_differing(flat)]
    several = len({run.search for run in runs}) > 1
    made = []
    for run, config in zip(runs, flat, strict=True):
        name = run.label
        if run.record.kind == "reproduction":
            name = f"{describe(config, keys)}, seed {run.config.seed}"
        made.append(replace(run, label=f"{run.search.name}: {name}" if several else name))
    return list(_distinct(made))


def settings_of(run: FinishedRun) -> dict[str, str]:
    """All settings of a run as MLflow shows them, defaults too: what runs are chosen by."""
    return dict(canonical_params(run.config.flat()))


def _named(asked: str, storage: Path, tracking_uri: str) -> list[FinishedRun]:
    for place in (Path(asked), storage / asked):
        if (place / CARD).is_file():
            search = place.absolute().parent.parent
            return _kept(search, place.name, asked)
        if (place / INDEX).is_file():
            return _kept(place.absolute(), "*", asked)
        if (place.parent / INDEX).is_file():
            return _kept(place.absolute().parent, place.name, asked)
    if len(asked) == RUN_ID_LENGTH and asked.isalnum():
        return _by_id(asked, storage, tracking_uri)
    known = sorted(file.parent.name for file in storage.glob(f"*/{INDEX}"))
    raise ValueError(
        f"no finished run '{asked}': a search (or NAME/PATTERN of its students), the folder of a "
        f"saved student, or an id of MLflow is needed{nearest(asked, known)}"
    )


def _by_id(run_id: str, storage: Path, tracking_uri: str) -> list[FinishedRun]:
    run = next((run for run in read_runs(tracking_uri) if run.run_id == run_id), None)
    if run is None:
        raise ValueError(f"no run '{run_id}' in MLflow; check --tracking-uri")
    # A tag of a server is anybody's: it names a folder of the storage, or none.
    search = storage.absolute() / Path(run.tags.get("search", run.name)).name
    if not (search / INDEX).is_file():
        raise ValueError(
            f"run '{run_id}' is of '{search.name}', and there are no students of it in "
            f"'{storage}'; give --storage"
        )
    return _kept(search, "*", run_id, key="" if run.kind == "search" else run.key)


def _kept(search: Path, pattern: str, asked: str, *, key: str = "") -> list[FinishedRun]:
    """The runs of one search whose student's folder is like ``pattern``, or of that ``key``."""
    try:
        journal_folder(search)
    except FileNotFoundError:
        raise ValueError(
            f"'{search}' has no journal, which says what its students are; analyse the student in "
            "the results that it came with"
        ) from None
    records = {run.key: run for run in read_journal(search).runs}
    index: dict[str, str] = json.loads((search / INDEX).read_text())
    chosen = [
        name
        for name, id_ in index.items()
        if id_ in records and (id_ == key if key else fnmatch(name, pattern))
    ]
    if not chosen:
        raise ValueError(f"no student of '{search.name}' is like '{asked}'{nearest(asked, index)}")
    return [
        FinishedRun(
            label=records[index[name]].name,
            search=search,
            student=search / FOLDER / name,
            record=records[index[name]],
            config=_config(records[index[name]]),
        )
        for name in chosen
    ]


def _config(record: RunRecord) -> TrialConfig:
    try:
        return parse(decode(record.params))
    except ConfigError as error:
        raise ValueError(
            f"run '{record.name}' cannot be analysed: what it logged is no configuration of a "
            f"single training of this version ({error})"
        ) from None


def _differing(configs: Sequence[FlatConfig]) -> list[str]:
    """The fewest settings besides the method that tell configurations apart, axes before others."""
    axes = [key for key in AXES if len({repr(config.get(key)) for config in configs}) > 1]
    keys = [*axes, *(key for key in others(configs) if key != "method")]

    def told_apart(keys: Sequence[str]) -> int:
        return len({repr([config.get(key) for key in ("method", *keys)]) for config in configs})

    most = told_apart(keys)
    for key in reversed(keys):
        rest = [each for each in keys if each != key]
        if told_apart(rest) == most:
            keys = rest
    return keys


def _distinct(runs: list[FinishedRun]) -> Iterator[FinishedRun]:
    seen: dict[str, int] = {}
    for run in runs:
        seen[run.label] = seen.get(run.label, 0) + 1
        again = seen[run.label]
        yield run if again == 1 else replace(run, label=f"{run.label} ({again})")
