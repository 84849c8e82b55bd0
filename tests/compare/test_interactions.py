"""Claims judged on runs whose effects are known."""

import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from made_searches import run

from kdtune.compare.claims import CLAIMS, Claim
from kdtune.compare.interactions import AGREES, DISAGREES, OPEN, Interaction, interactions
from kdtune.contracts import Scalar
from kdtune.pruning import surplus
from kdtune.search.reproduction_plan import Changes, Plan, plan_runs
from kdtune.search.requesting import build_request
from kdtune.tracking.record import RunRecord

SEEDS = (1, 2, 3)
JITTER = {1: -0.001, 2: 0.0, 3: 0.001}


def _tested(accuracy: float, **settings: Scalar) -> list[RunRecord]:
    """A configuration with three seeds."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return [
        run({"train.epochs": 10, **named, "seed": seed}, kind="finalist",
            metrics={"test/accuracy": accuracy + JITTER[seed]})
        for seed in SEEDS
    ]  # fmt: skip


def _of(paper: str, runs: list[RunRecord], factor: str = "", **more: Any) -> Interaction:
    found = [
        each
        for each in interactions(runs, **more)
        if each.claim.paper == paper and factor in each.claim.name
    ]
    assert len(found) == 1
    return found[0]


def _smoothing(cells: Mapping[tuple[float, float], float]) -> list[RunRecord]:
    return [
        each
        for (temperature, smoothing), accuracy in cells.items()
        for each in _tested(accuracy, temperature=temperature, label_smoothing=smoothing)
    ]


def test_a_controlled_design_gives_the_difference_of_differences_and_a_verdict() -> None:
    cells = {(1.0, 0.0): 0.90, (4.0, 0.0): 0.91, (1.0, 0.1): 0.92, (4.0, 0.1): 0.85}
    found = _of("chandrasegaran2022", _smoothing(cells))
    (told,) = found.estimates
    assert told.value == pytest.approx((0.85 - 0.92) - (0.91 - 0.90))
    assert told.low < told.value < told.high < 0
    assert told.verdict == AGREES
    assert (found.controlled, found.beside, found.metric) == (True, (), "test/accuracy")
    assert {cell.levels: cell.n for cell in found.cells} == dict.fromkeys(
        [("1", "0"), ("1", "0.1"), ("4", "0"), ("4", "0.1")], 3
    )


def test_the_interval_is_that_of_welch() -> None:
    cells = {(1.0, 0.0): 0.90, (4.0, 0.0): 0.91, (1.0, 0.1): 0.92, (4.0, 0.1): 0.85}
    (told,) = _of("chandrasegaran2022", _smoothing(cells)).estimates
    # Four cells of deviation 0.001 and n = 3: variance 4e-6 / 3, with 4 * 2 degrees of freedom.
    assert told.high - told.value == pytest.approx(2.306004 * (4e-6 / 3) ** 0.5, rel=1e-5)


def test_the_opposite_is_told_and_no_difference_stays_undecided() -> None:
    against = {(1.0, 0.0): 0.90, (4.0, 0.0): 0.85, (1.0, 0.1): 0.85, (4.0, 0.1): 0.92}
    nothing = {(1.0, 0.0): 0.90, (4.0, 0.0): 0.91, (1.0, 0.1): 0.92, (4.0, 0.1): 0.93}
    for cells, verdict in ((against, DISAGREES), (nothing, OPEN)):
        assert _of("chandrasegaran2022", _smoothing(cells)).estimates[0].verdict == verdict


def test_values_without_any_spread_decide_nothing() -> None:
    runs = [
        run({"train.epochs": 10, "temperature": t, "label_smoothing": s, "seed": seed},
            kind="finalist", metrics={"test/accuracy": 0.9 - 0.1 * (t > 1 and s > 0)})
        for t in (1.0, 4.0) for s in (0.0, 0.1) for seed in SEEDS
    ]  # fmt: skip
    (told,) = _of("chandrasegaran2022", runs).estimates
    assert (round(told.value, 6), told.verdict) == (-0.1, OPEN)


def test_the_effect_of_pruning_is_the_surplus() -> None:
    pruned: dict[str, Scalar] = {"prune_ratio": 0.5, "train__epochs": 12}
    runs = [
        *_tested(0.73, method="kd"),
        *_tested(0.71, method="scratch"),
        *_tested(0.735, method="kd", prune__phase="self_distill", **pruned),
        *_tested(0.60, method="kd", prune__phase="pre_distill", **pruned),
        *_tested(0.70, method="scratch", prune__phase="finetune", **pruned),
    ]
    (told,) = _of("park2020", runs).estimates
    assert told.value == pytest.approx(
        surplus(self_distill=0.735, finetune=0.70, unpruned_distilled=0.73, unpruned_scratch=0.71)
    )
    assert told.verdict == AGREES


def test_three_factors_have_their_own_contrasts() -> None:
    runs = []
    for epochs in (10, 40):
        for augment in ("none", "standard"):
            for method in ("scratch", "kd"):
                gain = 0.03 * (method == "kd" and augment == "standard" and epochs == 40)
                runs += _tested(0.8 + gain, method=method, augment=augment, train__epochs=epochs)
    found = _of("wang2020", runs)
    assert [round(told.value, 6) for told in found.estimates] == [0.015, 0.03, 0.03]
    assert {told.verdict for told in found.estimates} == {AGREES}
    assert len(found.cells) == 8


def test_the_gap_is_the_ratio_of_parameters() -> None:
    sizes = {"resnet8x0.125": 100, "wrn_16_1": 200, "wrn_16_8": 5000}
    runs = [
        each
        for teacher, epochs, accuracy in (
            ("wrn_16_1", 30, 0.90),
            ("wrn_16_1", 200, 0.92),
            ("wrn_16_8", 30, 0.91),
            ("wrn_16_8", 200, 0.88),
        )
        for each in _tested(accuracy, teacher=teacher, teacher_epochs=epochs)
    ]
    found = _of("cho2019", runs, sizes=sizes)
    assert {cell.levels[1] for cell in found.cells} == {"2", "50"}
    assert found.estimates[0].verdict == AGREES
    unknown = _of("cho2019", runs)
    assert unknown.missing == ("runs that tell their capacity gap",)


def test_the_gain_on_spoilt_data_can_be_told_without_clean_ones() -> None:
    runs = [
        each
        for gamma in (0.2, 2.0)
        for method, accuracy in (("scratch", 0.7), ("kd", 0.72))
        for each in _tested(accuracy, method=method, data__imbalance=gamma)
    ]
    found = _of("sarfraz2020", runs, "imbalance")
    (gain,) = found.estimates
    assert gain.contrast.of == ("method",)
    assert gain.value == pytest.approx(0.02)
    assert found.missing == ("runs whose imbalance is balanced (there is gamma 0.2 or gamma 2)",)


def test_no_gain_on_spoilt_data_is_told_by_clean_ones() -> None:
    for clean in ({"data__label_noise": 0.0}, {}):
        runs = _tested(0.7, method="scratch", **clean) + _tested(0.8, method="kd", **clean)
        for spoilt in ("noise", "imbalance"):
            assert not _of("sarfraz2020", runs, spoilt).estimates


def test_methods_are_averaged_over_those_that_were_run_at_both_ends() -> None:
    runs = []
    for noise, loss in ((0.0, 0.0), (0.4, 0.2)):
        runs += _tested(0.9 - loss, method="scratch", data__label_noise=noise)
        runs += _tested(0.91 - loss / 2, method="kd", data__label_noise=noise)
        runs += _tested(0.93 - loss / 2, method="sp", data__label_noise=noise)
    runs += _tested(0.1, method="at", data__label_noise=0.4)
    gain, interaction = _of("sarfraz2020", runs, "noise").estimates
    assert interaction.value == pytest.approx(0.1)
    assert interaction.verdict == AGREES
    assert gain.value == pytest.approx((0.81 + 0.83 + 0.1) / 3 - 0.7)


def test_trials_count_by_configuration_and_are_called_observed() -> None:
    rng = np.random.default_rng(0)
    runs = []
    for number in range(48):
        temperature, smoothing = float(rng.uniform(1, 16)), [0.0, 0.1][number % 2]
        settings = {
            "train.epochs": 10,
            "temperature": temperature,
            "label_smoothing": smoothing,
            "alpha": float(rng.uniform()),
        }
        value = 0.9 - 0.02 * temperature * (smoothing > 0) + 0.01 * float(rng.uniform())
        runs.append(run(settings, metrics={"val/accuracy": value}, trial=str(number)))
    found = _of("chandrasegaran2022", [*runs, *runs])
    assert (found.runs, found.controlled, found.beside) == (48, False, ("alpha",))
    assert (found.binned, len(found.cells)) == (("temperature",), 6)
    assert found.estimates[0].verdict == AGREES
    assert found.metric == "val/accuracy"


def test_seeds_of_one_configuration_are_not_called_too_few_runs_where_others_vary() -> None:
    pruned: dict[str, Scalar] = {"prune_ratio": 0.5, "train__epochs": 12}
    runs = [*_tested(0.71, method="scratch"), *_tested(0.70, method="scratch", **pruned)]
    for method in ("kd", "feature_kd"):
        runs += _tested(0.73, method=method)
        runs += _tested(0.73, method=method, prune__phase="self_distill", **pruned)
    found = _of("park2020", runs)
    assert found.beside == ("method",)
    assert found.missing == ("at least two configurations with unpruned, labels alone",)


def test_cut_trials_and_imported_figures_do_not_count() -> None:
    good = _smoothing({(1.0, 0.0): 0.9, (4.0, 0.0): 0.9, (1.0, 0.1): 0.9, (4.0, 0.1): 0.8})
    metrics = {"test/accuracy": 0.1, "val/accuracy": 0.1}
    worst: dict[str, Scalar] = {"train.epochs": 10, "temperature": 4.0, "label_smoothing": 0.1}
    bad = [
        run(worst, metrics=metrics, outcome="cut"),
        run(worst, metrics=metrics, kind="finalist", source="reported"),
    ]
    assert _of("chandrasegaran2022", [*good, *bad]) == _of("chandrasegaran2022", good)


def test_other_students_are_judged_apart() -> None:
    cells = {(1.0, 0.0): 0.9, (4.0, 0.0): 0.9, (1.0, 0.1): 0.9, (4.0, 0.1): 0.8}
    runs = [
        each
        for student in ("resnet8x0.125", "resnet8x0.25")
        for (temperature, smoothing), value in cells.items()
        for each in _tested(
            value, student=student, temperature=temperature, label_smoothing=smoothing
        )
    ]
    found = [each for each in interactions(runs) if each.estimates]
    assert [each.context["student"] for each in found] == ["resnet8x0.125", "resnet8x0.25"]


def test_a_factor_that_does_not_vary_is_named_with_a_command() -> None:
    found = _of("chandrasegaran2022", _smoothing({(4.0, 0.0): 0.9, (4.0, 0.1): 0.9}))
    assert found.estimates == ()
    assert found.missing == ("runs whose temperature is not 4",)
    assert found.commands == (
        "kdtune reproduce chandrasegaran2022:T2 --dataset digits --teacher resnet8 "
        "--student resnet8x0.125",
    )


def test_no_runs_tell_nothing() -> None:
    found = interactions([])
    assert [each.claim for each in found] == list(CLAIMS)
    assert {each.missing for each in found} == {("finished runs",)}


@pytest.mark.parametrize("place", range(len(CLAIMS)), ids=[claim.name for claim in CLAIMS])
def test_the_commands_are_those_of_kdtune(place: int, tmp_path: Any) -> None:
    """Every search and every reproduction that is proposed can be asked for."""
    found = interactions(_tested(0.9, teacher_epochs=10) + _tested(0.9, method="scratch"))[place]
    assert found.commands
    for line in found.commands:
        for words in _spoken(line):
            if words[1] == "reproduce":
                assert _planned(words).runs
            else:
                assert _points(words, tmp_path) > 1


@pytest.mark.parametrize(
    "claim",
    [claim for claim in CLAIMS if all(" reproduce " in line for line in claim.commands)],
    ids=lambda claim: claim.name,
)
def test_what_the_proposed_reproductions_make_tells_the_claim(claim: Claim) -> None:
    proposed = next(
        each.commands
        for each in interactions(_tested(0.9, teacher_epochs=10))
        if each.claim == claim
    )
    runs = []
    for words in (words for line in proposed for words in _spoken(line)):
        for place, planned in enumerate(_planned(words).runs):
            made = run(
                {key: value for key, value in planned.config.flat().items() if key != "role"},
                kind="reproduction",
                metrics={"test/accuracy": 0.5 + 0.001 * (place % 7)},
            )
            runs.append(made)
    told = max((e for e in interactions(runs) if e.claim == claim), key=lambda each: each.runs)
    assert (len(told.estimates), told.missing) == (len(claim.contrasts), ())
    assert told.controlled, told.beside


def _planned(words: list[str]) -> Plan:
    options = {
        key.removeprefix("--"): value for key, value in zip(words[3::2], words[4::2], strict=True)
    }
    cells = [options.pop("cells")] if "cells" in options else []
    return plan_runs(words[2], cells=cells, changes=Changes(**options), shared={})


def _spoken(line: str) -> list[list[str]]:
    """The calls of kdtune in a line, loops unrolled once."""
    parts = line.replace("$epochs", "10").replace("$seed", "0").split(";")
    calls = [part.removeprefix(" do").strip() for part in parts]
    calls = [call[call.index("kdtune") :] for call in calls if "kdtune" in call]
    return [shlex.split(call) for call in calls]


def _points(words: list[str], storage: Any) -> int:
    """How many points the space of a proposed search has, all of which its trials cover."""
    given = list(zip(words[3::2], words[4::2], strict=True))
    options = {key: value for key, value in given if key != "--set"}
    request = build_request(
        words[2],
        shortcuts={
            "dataset": options["--dataset"],
            "student": options["--student"],
            "train.epochs": int(options["--epochs"]),
            **({"teacher": options["--teacher"]} if "--teacher" in options else {}),
        },
        settings=[value for key, value in given if key == "--set"],
        name=None,
        storage=storage,
        tracking_uri=None,
        experiment=None,
        gpus_per_trial=0,
        cpus_per_trial=1,
        seed=int(options["--seed"]),
        sampler=options["--sampler"],
        scheduler=options["--scheduler"],
    )
    points = len(list(request.space.grid(5)))
    assert points == int(options["--trials"])
    return points
