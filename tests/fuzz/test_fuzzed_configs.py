"""Whatever is given as a configuration parses, or raises the one error that is documented."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inputs import EXTREME, FUZZ, KEYS, TEXTS, VALID, may_be_refused, near_misses, settings_as_typed

from kdtune.config import ConfigError, TrialConfig, decode, parse, teacher_trial, without_teacher
from kdtune.papers import figures, protocol, tables
from kdtune.report.goals import goal_of
from kdtune.search.requesting import build_request, typed_settings
from kdtune.search.space import load
from kdtune.tracking.canonical import MAX_PARAM, canonical_params
from kdtune.training.sequence import parse_sequence


def parsed(flat: Any) -> TrialConfig | None:
    """What :func:`parse` makes of it; None if it says what is wrong."""
    with may_be_refused(ConfigError):
        return parse(flat)
    return None


def holds_up(config: TrialConfig) -> None:
    """A configuration that was taken survives all that is done with it."""
    flat = config.flat()
    assert parse(flat) == config
    assert json.loads(json.dumps(flat, allow_nan=False)) == flat
    texts = canonical_params(flat)
    if all(len(text) < MAX_PARAM for text in texts.values()):
        assert decode(texts) == flat
    assert parsed(without_teacher(flat))
    if config.teacher is not None and not config.teacher.weights:
        assert parse(teacher_trial(config).flat()) == teacher_trial(config)


def test_what_the_fuzzing_starts_from_is_valid() -> None:
    for flat in VALID:
        holds_up(parse(flat))


@settings(FUZZ, max_examples=600)
@given(near_misses())
@example({"method": []})
@example({"seed": 10**5000})
@example({"train.epochs": 2**62})
@example({"prune.method": "\ud800"})
def test_a_near_miss_parses_or_is_refused(flat: dict[Any, Any]) -> None:
    config = parsed(flat)
    if config is not None:
        holds_up(config)


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=5,
)


@settings(FUZZ, max_examples=600)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(KEYS), st.text()), st.one_of(st.sampled_from(EXTREME), ANYTHING)
    )
)
def test_a_random_flat_dict_parses_or_is_refused(flat: dict[str, Any]) -> None:
    config = parsed(flat)
    if config is not None:
        holds_up(config)


def refused(error: ValueError) -> None:
    """That is how a user's error is told: not pydantic's, not Unicode's, not Python's own words."""
    assert type(error) in (ValueError, ConfigError)
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    assert frame is not None
    assert "/kdtune/" in frame.tb_frame.f_code.co_filename, f"raised elsewhere: {error!r}"


@settings(FUZZ, max_examples=500)
@given(settings_as_typed(), st.sampled_from(("quickstart", "joint", "sarfraz2020")))
def test_typed_settings_are_decoded_or_refused(texts: list[str], space: str) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: typed_settings(load(space), texts),
        lambda: parsed(decode(dict(text.partition("=")[::2] for text in texts))),
    )
    for call in calls:
        with may_be_refused(ConfigError):
            call()


NAMES = st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))


@settings(FUZZ, max_examples=300)
@given(
    st.sampled_from(("quickstart", "joint", "wang2020", "os", "../quickstart", "__init__")),
    settings_as_typed(),
    st.fixed_dictionaries(
        {},
        optional={
            "name": NAMES,
            "experiment": NAMES,
            "tracking_uri": st.one_of(NAMES, st.just("http://[")),
            "objectives": st.lists(NAMES, max_size=2),
            "skip": st.lists(NAMES, max_size=2),
            "seed": st.sampled_from((-1, 0, 2**62, 2**80)),
            "cpus_per_trial": st.sampled_from((0, 1, 10**30)),
            "trials": st.sampled_from((0, 1, 10**30)),
        },
    ),
)
def test_a_request_is_built_or_refused(space: str, texts: list[str], more: dict[str, Any]) -> None:
    asked: dict[str, Any] = {
        **{"shortcuts": {}, "name": None, "storage": Path("/nowhere/kdtune"), "seed": 0},
        **{"tracking_uri": None, "experiment": None, "gpus_per_trial": 0.0, "cpus_per_trial": 1},
    }
    try:
        build_request(space, settings=texts, **{**asked, **more})
    except ValueError as error:
        refused(error)


@settings(FUZZ, max_examples=200)
@given(
    st.sampled_from(("resnet8*2", "resnet8x0.25*3,resnet8", "", "*", ",", "resnet8*-1", "x*2")),
    settings_as_typed(),
)
def test_a_chain_of_networks_is_parsed_or_refused(chain: str, texts: list[str]) -> None:
    try:
        decoded = decode(dict(text.partition("=")[::2] for text in texts))
        config = parse_sequence({"chain": chain, **decoded})
    except ValueError as error:
        refused(error)
        return
    assert parse_sequence(config.flat()).flat() == config.flat()


@pytest.mark.parametrize("look_up", [load, figures, tables, protocol, goal_of])
@pytest.mark.parametrize("name", [*TEXTS, "os", "search_spaces", "__init__", "cho2019.T1"])
def test_a_name_that_does_not_exist_is_refused(look_up: Callable[[str], object], name: str) -> None:
    with pytest.raises(ValueError, match="unknown") as error:
        look_up(name)
    refused(error.value)
