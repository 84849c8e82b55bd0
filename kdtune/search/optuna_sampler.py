"""Optuna's samplers, told the truth about every trial and asked in a reproducible order.

Optuna's ask-and-tell interface is used directly. A trial that the scheduler cut is told as pruned
with all its values, one that failed or diverged as failed, and nothing that is not finite reaches
the study.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState
from ray.air.constants import TRAINING_ITERATION

from kdtune.contracts import FlatConfig, Scalar
from kdtune.registry import nearest
from kdtune.search.epochs import epoch_of
from kdtune.search.order import VirtualClock
from kdtune.search.samplers import Result, SpaceSampler
from kdtune.search.space import Space
from kdtune.seeds import derive

POPULATION = 20
"""Of ``nsga2``: with Optuna's 50, a search of fewer trials would only draw at random."""


def _tpe(seed: int, arms: int) -> BaseSampler:
    return TPESampler(seed=seed, multivariate=True, group=arms > 1, constant_liar=True)


def _cmaes(seed: int, arms: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _gp(seed: int, arms: int) -> BaseSampler:
    return GPSampler(seed=seed, warn_independent_sampling=False)


def _nsga2(seed: int, arms: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=POPULATION)


ENGINES: Mapping[str, Callable[[int, int], BaseSampler]] = {
    "tpe": _tpe,
    "cmaes": _cmaes,
    "gp": _gp,
    "nsga2": _nsga2,
}
"""Optuna's samplers by name: from a 32-bit seed and the number of arms of the space."""

SINGLE = ("cmaes",)
"""Those of them that Optuna refuses to run with several objectives."""


@dataclass
class _Record:
    """What is known of one suggested trial; ``state`` is None while it runs."""

    index: int
    trial: optuna.Trial
    values: dict[int, tuple[float, ...]] = field(default_factory=dict)
    state: TrialState | None = None


class OptunaSampler(SpaceSampler):
    """One of Optuna's samplers over a space.

    With ``ordered``, trials are told to Optuna in the order of a :class:`VirtualClock`, and a
    suggestion waits until it is certain which trials it may know. The same seed then gives the
    same search, provided that the scheduler's cuts do not depend on timing either. The last
    trials of a search reach the study in :meth:`close`, which :class:`StudyCallback` calls.

    What ends up in the study: *complete* with its last value if the trial reported
    ``finished = 1``; *failed* if it raised an error, reported ``diverged = 1`` or ended on a value
    that is not finite, or never reported one; else *pruned* with the values of all its epochs.
    A trainable that reports no ``finished`` counts as complete from ``max_t`` epochs on, and
    always if ``max_t`` is None: Tune marks a trial that its scheduler cut as done like any other,
    so give ``max_t`` with a scheduler that cuts.

    ``tpe`` learns from pruned trials too, and models the axes of each arm as a group. ``cmaes``
    searches ranges that all arms share and draws the rest at random; it, ``gp`` and ``nsga2``
    learn from complete trials only, so they are best without cuts.

    With several objectives a trial is told as complete with its last values, or as failed: Optuna
    takes intermediate values of one objective only, and a trial that was stopped says nothing.

    Args:
        space: The space to draw from.
        engine: ``tpe``, ``cmaes``, ``gp`` or ``nsga2``.
        ordered: Whether suggestions must not depend on how long trials take.
        max_t: Epochs of a full trial, for trainables that do not report ``finished``.
        **settings: As for :class:`SpaceSampler`.

    Raises:
        ValueError: On an unknown engine, or one that takes a single objective.
    """

    def __init__(
        self,
        space: Space,
        *,
        engine: str = "tpe",
        ordered: bool = True,
        max_t: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(space, **settings)
        if engine not in ENGINES:
            raise ValueError(f"unknown Optuna sampler '{engine}'{nearest(engine, ENGINES)}")
        if len(self.objectives) > 1 and engine in SINGLE:
            raise ValueError(
                f"sampler '{engine}' takes one objective, as Optuna's CMA-ES ranks by one value, "
                f"got {', '.join(map(str, self.objectives))}; use tpe, nsga2, gp, random or grid"
            )
        self.engine = engine
        self.max_t = max_t
        self._clock = VirtualClock(self.max_concurrent) if ordered else None
        self._records: dict[str, _Record] = {}
        self._ids: list[str] = []
        with quiet():
            sampler = ENGINES[engine](derive(self.seed, "optuna") % 2**32, len(space.arms))
            self.study = optuna.create_study(
                directions=[goal.direction for goal in self.objectives], sampler=sampler
            )
            for point in space.points_to_evaluate():
                self.study.enqueue_trial(point)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take over Tune's ``max_concurrent_trials``, unless the search has begun."""
        if self._count == 0:
            self.max_concurrent = max_concurrent
            self._clock = None if self._clock is None else VirtualClock(max_concurrent)
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep the trial's values of this epoch for when it is over; a warm-up has none."""
        record = self._records.get(trial_id)
        epoch, reports = epoch_of(result), _number(result.get(TRAINING_ITERATION))
        if record is None or record.state is not None or epoch is None:
            return
        values = tuple(v for v in map(_number, self._given(result)) if v is not None)
        if len(values) == len(self.objectives) and epoch > 0:
            record.values[int(epoch)] = values
        if self._clock is not None and reports is not None:
            self._clock.saw(record.index, int(reports))

    def on_trial_complete(self, trial_id: str, result: Result = None, error: bool = False) -> None:
        """Settle how the trial ended; tell Optuna now, or when the virtual clock says so."""
        record = self._records.get(trial_id)
        if record is None or record.state is not None:
            return
        super().on_trial_complete(trial_id)
        self.on_trial_result(trial_id, result or {})
        record.state = self._outcome(record, result or {}, error)
        if self._clock is not None:
            self._clock.end(record.index)
        else:
            self._tell(record)

    def close(self) -> None:
        """Tell Optuna of every trial; one that still runs counts as cut where it stands."""
        super().close()
        for index in () if self._clock is None else self._clock.drain():
            self._tell(self._records[self._ids[index]])

    def _may_start(self) -> bool:
        if self._clock is not None:
            return self._clock.next_start() is not None
        return super()._may_start()

    def _start(self, trial_id: str) -> dict[str, Scalar]:
        if self._clock is not None:
            for index in self._clock.begin().known:
                self._tell(self._records[self._ids[index]])
        with quiet():
            trial = self.study.ask()
            config = self.space.suggest(trial)
        self._records[trial_id] = _Record(self._count, trial)
        self._ids.append(trial_id)
        return config

    def _impose(self, trial_id: str, config: FlatConfig) -> None:
        """Another release of Optuna, or another processor, may draw other numbers from a seed."""
        taken_back = self._records[trial_id]
        point = self.space.point(config)
        with quiet():
            self.study.tell(taken_back.trial, state=TrialState.FAIL)
            self.study.enqueue_trial(point)
            trial = self.study.ask()
            found = self.space.suggest(trial)
        if found != config:
            key = next(key for key in {**found, **config} if found.get(key) != config.get(key))
            raise ValueError(
                f"the log has {key}={config.get(key)!r} for trial {self._count}, which the space "
                f"makes {found.get(key)!r}: it is not the space that the search began with"
            )
        self._records[trial_id] = _Record(taken_back.index, trial)

    def _outcome(self, record: _Record, result: Mapping[str, Any], error: bool) -> TrialState:
        given = self._given(result)
        broken = any(value is not None and _number(value) is None for value in given)
        if error or result.get("diverged") or broken or not record.values:
            return TrialState.FAIL
        if None in given:  # no last report: the trial was stopped from outside
            return TrialState.FAIL if result.get("finished") else TrialState.PRUNED
        if "finished" in result:
            finished = bool(result["finished"])
        else:
            finished = self.max_t is None or max(record.values) >= self.max_t
        return TrialState.COMPLETE if finished else TrialState.PRUNED

    def _tell(self, record: _Record) -> None:
        assert record.state is not None
        state, several = record.state, len(self.objectives) > 1
        if several and state is TrialState.PRUNED:
            state = TrialState.FAIL
        for epoch, values in () if several else sorted(record.values.items()):
            record.trial.report(values[0], epoch)
        last = record.values[max(record.values)] if state is TrialState.COMPLETE else None
        with quiet():
            self.study.tell(record.trial, last, state)

    def _given(self, result: Mapping[str, Any]) -> list[Any]:
        """What a report says of each objective."""
        return [result.get(goal.metric) for goal in self.objectives]


def _number(value: object) -> float | None:
    """``value`` as a finite float, or None if it is none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's notes on studies and its experimental arguments off the console.

    By its handlers: a logger whose level is set makes every logger there is forget what it knows,
    and next to Ray and MLflow there are thousands.
    """
    handlers = logging.getLogger(optuna.__name__).handlers
    levels = [handler.level for handler in handlers]
    try:
        for handler in handlers:
            handler.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
