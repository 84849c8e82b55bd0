"""From cells to a fixed list of runs: each configuration complete, checked and there once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdtune.compare.measured import short_name
from kdtune.config import (
    TEACHER_AXES,
    TEACHER_TRAINING,
    ConfigError,
    TrialConfig,
    as_finalist,
    known_keys,
    parse,
    teacher_trial,
)
from kdtune.contracts import FlatConfig, Scalar
from kdtune.data import Dataset, absolute_name
from kdtune.models.catalog import locate
from kdtune.papers import Figure
from kdtune.search.checks import check_parts
from kdtune.search.reproduced_cells import cells_of, cells_text, chosen
from kdtune.search.reproducible import NotReproducible, Recipe, recipe_of
from kdtune.search.reproduction_cost import KNOWN, shape_of, stand_in
from kdtune.search.requesting import typed_settings
from kdtune.search.space import load
from kdtune.training.data import load_trial_data
from kdtune.training.teacher import STORED

USUAL_SEEDS = 3
"""Runs of a cell whose paper does not say how many it had."""

LENGTHS = (
    *("train.epochs", "train.warmup_epochs", "method.stop_epoch"),
    *("teacher_epochs", "teacher.full_epochs"),
)
"""Keys that are numbers of epochs; all other times of a schedule are shares of these."""

EARLY = (("teacher_epochs", "teacher.full_epochs"), ("method.stop_epoch", "train.epochs"))
"""Lengths that may be a part of others: then they stay one."""

FEWEST_EPOCHS = 2
"""Of anything that is trained: one before and one after what happens in the middle."""

OF_THE_CELL = ("method", "arm", "dataset", "seed", "role")
"""Keys that ``--set`` does not take: the cell or another option has them."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a user wants otherwise than printed.

    Attributes:
        dataset: Where one of the table's datasets lies, or what takes the place of them all;
            empty for the printed ones.
        teacher, student: Networks in place of the printed ones; empty for those.
        settings: Texts ``KEY=VALUE``, of every run whose method knows the key.
        epochs_scale: What all numbers of epochs are multiplied by.
        seeds: Runs of each cell; None for as many as its paper says, or :data:`USUAL_SEEDS`.
        seed: The first of them.
    """

    dataset: str = ""
    teacher: str = ""
    student: str = ""
    settings: tuple[str, ...] = ()
    epochs_scale: float = 1.0
    seeds: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A printed figure, and what is run for it.

    Attributes:
        number: In its table, from 1.
        figure: As printed.
        config: Of its runs but for the seed; None if it cannot be run.
        protocol: The same flat, had nothing been changed.
        reason: Why it cannot; empty if it can.
        seeds: How many runs it gets.
    """

    number: int
    figure: Figure
    config: TrialConfig | None = None
    protocol: FlatConfig = field(default_factory=dict)
    reason: str = ""
    seeds: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, for every cell that is of its configuration."""

    config: TrialConfig
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run for the chosen cells of a table.

    Attributes:
        target: ``PAPER:TABLE``.
        cells: The chosen ones, also those that cannot be run.
        runs: In the order in which they are started: all cells once, then all with the next seed.
        teachers: The trials that train their teachers, each once.
    """

    target: str
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    teachers: tuple[TrialConfig, ...]

    @property
    def paper(self) -> str:
        """Key of the paper."""
        return self.target.partition(":")[0]

    @property
    def table(self) -> str:
        """Key of the table."""
        return self.target.partition(":")[2]

    def left_out(self) -> dict[str, list[int]]:
        """The numbers of the cells that cannot be run, by reason."""
        found: dict[str, list[int]] = {}
        for cell in self.cells:
            if cell.reason:
                found.setdefault(cell.reason, []).append(cell.number)
        return found


def plan_runs(
    target: str,
    *,
    cells: Sequence[str] = (),
    changes: Changes = Changes(),
    shared: FlatConfig | None = None,
    look: bool = True,
) -> Plan:
    """What to run for the cells of a table.

    Args:
        target: ``PAPER:TABLE``.
        cells: As for :func:`~kdtune.search.reproduced_cells.chosen`.
        changes: What is otherwise than printed.
        shared: Keys of all runs: where data and teachers lie, threads, device.
        look: Whether the data are read; without, those of known size need not be there.

    Raises:
        ValueError: If the table, a cell, a change or the data are not valid.
        FileNotFoundError: If the data are not there.
    """
    picked = chosen(cells_of(target), cells)
    for network in filter(None, (changes.teacher, changes.student)):
        locate(network)  # refuses an unknown one, which is no reason to leave its cells out
    maker = _Maker(list(picked.values()), changes, shared or {}, look=look)
    found = tuple(maker.cell(number, figure) for number, figure in picked.items())
    runs = _runs(found, changes.seed)
    plan = Plan(target=target, cells=found, runs=runs, teachers=_teachers(runs))
    if not runs:
        reasons = "; ".join(f"{cells_text(n)}: {reason}" for reason, n in plan.left_out().items())
        raise ValueError(f"nothing of {target} can be trained here: {reasons}")
    maker.check_all_settings_used()
    return plan


class _Maker:
    """Makes the configuration of one cell after the other."""

    def __init__(
        self, figures: Sequence[Figure], changes: Changes, shared: FlatConfig, *, look: bool
    ) -> None:
        self._changes = changes
        self._shared = shared
        self._look = look
        self._typed = _typed(changes.settings, figures[0].paper)
        self._printed = {figure.dataset for figure in figures}
        self._unused = set(self._typed)
        self._loaded: dict[object, Dataset] = {}
        self._seen: set[object] = set()

    def cell(self, number: int, figure: Figure) -> Cell:
        """The cell with its configuration, or with what stands in its way."""
        try:
            recipe = recipe_of(figure)
            config = self._config(recipe, self._dataset(figure.dataset))
        except ValueError as error:
            return Cell(number=number, figure=figure, reason=str(error))
        data = self._data(config)
        seen = set(self._seen)
        try:
            check_parts(config, data, seen)
        except ValueError as error:
            return Cell(number=number, figure=figure, reason=str(error))
        # What was refused has to be refused again, so only what fits counts as seen.
        self._seen = seen
        seeds = self._changes.seeds or figure.n_runs or USUAL_SEEDS
        protocol = _trained(parse(recipe.settings), recipe).flat()
        return Cell(number=number, figure=figure, config=config, protocol=protocol, seeds=seeds)

    def check_all_settings_used(self) -> None:
        """Refuse a setting that no run takes.

        Raises:
            ConfigError: If there is one.
        """
        if self._unused:
            key = min(self._unused)
            raise ConfigError(f"'{key}' means nothing to the chosen cells; drop it")

    def _dataset(self, printed: str) -> str:
        """What a dataset of the paper is read from; one that is given may be its namesake only."""
        given = self._changes.dataset
        name = short_name(given)
        if given and not (name in self._printed and name != printed):
            return given
        if printed not in KNOWN:
            raise NotReproducible(
                f"needs {printed}: give --dataset folder:PATH or parquet:URI where you have it"
            )
        return printed

    def _config(self, recipe: Recipe, dataset: str) -> TrialConfig:
        settings = {**recipe.settings, "dataset": dataset}
        changes = self._changes
        for key, name in (("teacher", changes.teacher), ("student", changes.student)):
            if name and key in settings:
                settings[key] = name
        settings = scaled(settings, changes.epochs_scale)
        known = known_keys(str(settings["method"]))
        taught = "teacher" in settings
        own = {k: v for k, v in self._typed.items() if k in known and (taught or not _taught(k))}
        self._unused -= own.keys()
        if "teacher.weights" in own:
            settings = {k: v for k, v in settings.items() if k not in TEACHER_TRAINING}
        root = self._shared.get("data.root")
        local = absolute_name(dataset, root=str(root) if root else None)
        return _trained(parse({**settings, **self._shared, **own, "dataset": local}), recipe)

    def _data(self, config: TrialConfig) -> Dataset:
        key = (config.dataset, config.data)
        if key not in self._loaded:
            known = not self._look and config.dataset in KNOWN
            data = stand_in(shape_of(config)) if known else load_trial_data(config)
            self._loaded[key] = data
        return self._loaded[key]


def scaled(settings: FlatConfig, scale: float) -> dict[str, Scalar]:
    """The settings with every number of epochs times ``scale``, rounded.

    What ends early still does: a teacher that is stopped, and distillation that is.

    Raises:
        ValueError: If so little is left that it would be another experiment.
    """
    lengths = {k: v for k in LENGTHS if isinstance(v := settings.get(k), int) and v}
    new = {key: round(value * scale) for key, value in lengths.items()}
    for key, value in lengths.items():
        if new[key] < FEWEST_EPOCHS:
            raise ValueError(
                f"--epochs-scale {scale:g} leaves less than {FEWEST_EPOCHS} of the {value} epochs "
                f"of {key}; give {FEWEST_EPOCHS / value:.2g} or more"
            )
    for part, whole in EARLY:
        if part in new and lengths[part] < lengths[whole]:
            new[part] = min(new[part], new[whole] - 1)
    return {**settings, **new}


def _trained(config: TrialConfig, recipe: Recipe) -> TrialConfig:
    """What is trained for the cell, to be tested at the end: the trial, or its teacher."""
    trained = teacher_trial(config) if recipe.teaches else config
    return parse(as_finalist(trained.flat(), {"seed": 0}))


def _typed(texts: Sequence[str], paper: str) -> dict[str, Scalar]:
    """What ``--set`` says, with the whole path of a ready-made teacher."""
    typed = typed_settings(load(paper), texts)
    weights = typed.get("teacher.weights")
    if isinstance(weights, str) and not weights.startswith(STORED):
        typed["teacher.weights"] = str(Path(weights).absolute())
    for key in OF_THE_CELL:
        if key in typed:
            raise ConfigError(f"--set does not take '{key}'; see --cells, --dataset and --seed")
    return typed


def _taught(key: str) -> bool:
    """Whether a key describes a teacher; the store is also that of networks that have none."""
    return key in TEACHER_AXES or (key.startswith("teacher.") and key != "teacher.store")


def _runs(cells: Sequence[Cell], first_seed: int) -> tuple[Run, ...]:
    """All configurations with the first seed, then with the next one."""
    shared: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.config is not None:
            shared.setdefault(repr(cell.config), []).append(cell)
    found = []
    for place in range(max((cell.seeds for cell in cells), default=0)):
        for group in shared.values():
            config = group[0].config
            assert config is not None
            if place < max(cell.seeds for cell in group):
                seeded = parse({**config.flat(), "seed": first_seed + place})
                found.append(Run(config=seeded, cells=tuple(group)))
    return tuple(found)


def _teachers(runs: Sequence[Run]) -> tuple[TrialConfig, ...]:
    """The trials of all distinct teachers that have to be trained."""
    found: dict[str, TrialConfig] = {}
    for run in runs:
        teacher = run.config.teacher
        if teacher is not None and not teacher.weights:
            trial = teacher_trial(run.config)
            found.setdefault(repr(trial), trial)
    return tuple(found.values())
