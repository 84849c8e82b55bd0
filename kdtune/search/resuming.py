"""Which search is to go on, what is left of it to do, and how much more is asked of it."""

from pathlib import Path
from typing import Any

from kdtune.config import ConfigError
from kdtune.registry import nearest
from kdtune.search.log import FILE, Begun, Event, Grown, History, history_of, read_log
from kdtune.search.request import SearchRequest
from kdtune.search.requesting import build_request
from kdtune.search.stages import TRIALS
from kdtune.storage import Location

HOUR_S = 3600.0


def folder_of(name: str, storage: str | Path) -> Location:
    """Where the search called ``name`` lies.

    Raises:
        ValueError: If there is none; names the nearest.
    """
    results = Location.parse(storage)
    found = results.child(name)
    if found.is_local and not found.local.is_dir():
        known = sorted(log.parent.name for log in results.local.glob(f"*/{FILE}"))
        hint = nearest(name, known) if known else "; no search lies there"
        raise ConfigError(f"no search '{name}' in '{results.uri}'{hint}")
    return found


def reopened(
    location: Location,
    *,
    trials: str | None = None,
    hours: str | None = None,
    retry_failed: bool = False,
    tracking_uri: str | None = None,
    address: str | None = None,
    max_concurrent: int | None = None,
) -> tuple[SearchRequest, History, list[Event]]:
    """The search whose log lies at ``location``, what it has been through, and what is decided now.

    The decisions (how it grows, what is tried again) are for the log, before anything is done.

    Args:
        location: Of the search.
        trials: How many it is to have: a number, or ``+50`` for so many more.
        hours: How long its trials may take in all, or ``+2`` for so much longer than before.
        retry_failed: Whether failed trials are tried again.
        tracking_uri: Of MLflow; None for the one that it began with.
        address: Of a Ray cluster; None as above.
        max_concurrent: How many trials run at once; None as above.

    Raises:
        ValueError: If there is nothing to go on with, nothing left to do, the search cannot be
            made again, or it would have fewer trials or hours than it had.
    """
    history = read_log(location.local)
    begun = history.begun
    if begun is None:
        raise ConfigError(
            f"'{location.uri}' has no log of a search ('{FILE}'): nothing was begun there; delete "
            "the folder and search anew"
        )
    changed = {"tracking_uri": tracking_uri, "address": address, "max_concurrent": max_concurrent}
    request = _request(begun, {key: value for key, value in changed.items() if value is not None})
    _check_place(request, location)
    if history.grown:
        size = {"trials": history.grown.trials, "time_budget_s": history.grown.time_budget_s}
        request = request.model_copy(update=size)
    decided: list[Event] = list(history.failures) if retry_failed else []
    history = history_of((*history.events, *decided))
    grown = _growth(request, history, trials, hours)
    if grown:
        size = {"trials": grown.trials, "time_budget_s": grown.time_budget_s}
        return request.model_copy(update=size), history, [*decided, grown]
    if history.concluded and not retry_failed:
        raise ConfigError(
            f"search '{request.name}' is complete; let it grow with --trials +20 or --hours +1, "
            "or give --retry-failed"
        )
    return request, history, decided


def check_same(request: SearchRequest, begun: Begun) -> None:
    """Refuse to go on with a search under arguments that it did not begin with.

    Raises:
        ValueError: Names each that differs.
    """
    now, then = request.asked, begun.asked
    free = {"tracking_uri", "address", "max_concurrent", "command", "name"}
    differ = [k for k in {**then, **now} if k not in free and now.get(k) != then.get(k)]
    if differ:
        told = "; ".join(f"{key} is {now.get(key)!r}, was {then.get(key)!r}" for key in differ)
        raise ConfigError(
            f"search '{request.name}' began with other arguments ({told}); give those, or "
            f"'kdtune resume {request.name}', or another --name"
        )


def _check_place(request: SearchRequest, location: Location) -> None:
    """Refuse a folder that was moved or copied: the paths in its configurations lead elsewhere.

    Raises:
        ValueError: If it is not the place where the search began; a link to it is.
    """
    began = request.location
    if began.local.resolve() != location.local.resolve():
        raise ConfigError(
            f"the search in '{location.uri}' began in '{began.uri}', where its trials look for "
            "their teachers; move it back there, or make that path a link to where it lies now"
        )


def _request(begun: Begun, changed: dict[str, Any]) -> SearchRequest:
    if not begun.asked:
        raise ConfigError(
            "the search was begun from Python, whose request no log can hold; call "
            "kdtune.search.session.resume_request with it"
        )
    asked = {**begun.asked, **changed}
    if "://***@" in (asked["tracking_uri"] or ""):
        raise ConfigError(
            "the tracking server took a user and a password, which are kept nowhere; give "
            "--tracking-uri or MLFLOW_TRACKING_URI again"
        )
    request = build_request(asked.pop("space_name"), **asked)
    check_digest(request, begun)
    return request


def check_digest(request: SearchRequest, begun: Begun) -> None:
    """Refuse a space that is not the one that the search began with.

    Raises:
        ValueError: If it differs.
    """
    if request.space.digest != begun.digest:
        raise ConfigError(
            f"space '{request.space.name}' is not what it was when search '{request.name}' began "
            "(axes, fixed settings or recipes differ); bring that version back, or search anew "
            "under another --name"
        )


def _growth(
    request: SearchRequest, history: History, trials: str | None, hours: str | None
) -> Grown | None:
    if trials is None and hours is None:
        return None
    more, budget = request.trials, request.time_budget_s
    used_s = history.used_s(TRIALS)
    if hours is None and budget is not None and used_s >= budget:
        raise ConfigError(
            f"the time of the trials is over ({used_s:.0f} of {budget:.0f} s); give --hours +1 "
            "as well"
        )
    if trials is not None:
        given = _number(trials, "--trials", whole=True)
        more = int(given) + (request.trials if trials.startswith("+") else 0)
        if more < request.trials:
            raise ConfigError(f"--trials must be at least {request.trials}, got {trials}")
    if hours is not None:
        least_s = max(used_s, budget or 0.0)
        budget = _number(hours, "--hours", whole=False) * HOUR_S
        budget += least_s if hours.startswith("+") else 0.0
        if budget <= least_s:
            raise ConfigError(
                f"--hours must be more than the {least_s / HOUR_S:.4f} that the trials have, got "
                f"{hours}; or give +{hours} for so much longer"
            )
    return Grown(trials=more, time_budget_s=budget)


def _number(text: str, option: str, *, whole: bool) -> float:
    try:
        value = float(int(text) if whole else float(text))
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        kind = "whole number" if whole else "number"
        raise ConfigError(f"{option} takes a {kind} above 0, or +N for more, got '{text}'")
    return value
