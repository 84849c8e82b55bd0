import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import CLOCK

from kdtune.config import ConfigError
from kdtune.teachers.store import TeacherError, TeacherStore
from kdtune.training.sequence import SequenceTrial, parse_sequence

CHAIN = "resnet8x0.25,resnet8x0.125*2"
NETWORKS = ("resnet8x0.25", "resnet8x0.125", "resnet8x0.125")
EPOCHS = 2

Reports = list[dict[str, float]]


@pytest.fixture
def flat(tmp_path: Path) -> dict[str, Any]:
    """A tiny sequence with a store of its own."""
    return {
        "chain": CHAIN,
        "teacher.store": str(tmp_path / "store"),
        "data.train_limit": 200,
        "train.epochs": EPOCHS,
        "train.device": "cpu",
    }


def sequence(flat: dict[str, Any], **more: Any) -> SequenceTrial:
    return SequenceTrial(parse_sequence({**flat, **more}))


def report(trial: SequenceTrial) -> dict[str, float]:
    return {
        key: value
        for key, value in trial.next_epoch().items()
        if key.removeprefix("scratch/") not in CLOCK
    }


def rest(trial: SequenceTrial) -> Reports:
    reports = []
    while not trial.finished:
        reports.append(report(trial))
    return reports


def test_each_member_is_trained_in_turn_and_then_as_many_from_scratch(flat: dict[str, Any]) -> None:
    trial = sequence(flat)
    history = rest(trial)
    assert [r["epoch"] for r in history] == list(range(1, 2 * len(NETWORKS) * EPOCHS + 1))
    assert [r["generation"] for r in history] == [0, 0, 1, 1, *[2] * 8]
    assert [r["finished"] for r in history] == [*[0] * 11, 1]
    assert ["train/kd" in r for r in history] == [False] * 2 + [True] * 4 + [False] * 6
    assert ["scratch/val/accuracy" in r for r in history] == [False] * 6 + [True] * 6
    assert all(r["val/accuracy"] == history[5]["val/accuracy"] for r in history[5:])
    assert trial.config.epochs == history[-1]["epoch"]


def test_the_last_report_compares_the_generations_with_scratch_networks(
    flat: dict[str, Any],
) -> None:
    history = rest(sequence(flat))
    last = history[-1]
    ends = [history[EPOCHS * (n + 1) - 1]["val/accuracy"] for n in range(3)]
    assert [last[f"generation/{n}/val_accuracy"] for n in range(3)] == ends
    scratch = [history[EPOCHS * (n + 4) - 1]["scratch/val/accuracy"] for n in range(3)]
    assert [last[f"scratch/{n}/val_accuracy"] for n in range(3)] == scratch
    assert len(set(scratch)) > 1
    assert last["ensemble/members"] == 3
    assert 0 < last["ensemble/generations_accuracy"] <= 1
    assert 0 < last["ensemble/scratch_accuracy"] <= 1
    assert not any("ensemble" in key for report in history[:-1] for key in report)


def test_each_member_is_a_stored_teacher_taught_by_the_one_before(flat: dict[str, Any]) -> None:
    trial = sequence(flat, ensembles=False)
    rest(trial)
    store = TeacherStore(flat["teacher.store"])
    configs = [store.read(key)[1].config for key in trial.keys]
    assert [config["student"] for config in configs] == list(NETWORKS)
    assert [config["method"] for config in configs] == ["scratch", "kd", "kd"]
    before = [config.get("teacher.weights") for config in configs]
    assert before == [None, f"store:{trial.keys[0]}", f"store:{trial.keys[1]}"]
    assert len({config["seed"] for config in configs}) == 3


def test_a_sequence_that_is_stored_already_is_loaded_member_by_member(
    flat: dict[str, Any],
) -> None:
    trained = rest(sequence(flat))
    loaded = rest(sequence(flat))
    assert [r["from_store"] for r in loaded[:3]] == [1, 1, 1]
    assert [r["scratch/from_store"] for r in loaded[3:]] == [1, 1, 1]
    assert [r["epoch"] for r in loaded] == [2, 4, 6, 8, 10, 12]
    same = [key for key in loaded[-1] if key != "scratch/from_store"]
    assert [loaded[-1][key] for key in same] == [trained[-1][key] for key in same]


def test_a_longer_chain_goes_on_from_a_shorter_one(flat: dict[str, Any]) -> None:
    short = sequence(flat, chain="resnet8x0.25,resnet8x0.125", ensembles=False)
    rest(short)
    long = sequence(flat, ensembles=False)
    assert [r["from_store"] for r in rest(long)] == [1, 1, 0, 0]
    assert long.keys[:2] == short.keys


def test_chains_that_differ_share_what_comes_before(flat: dict[str, Any]) -> None:
    kd, at = sequence(flat, ensembles=False), sequence(flat, method="at_kd", ensembles=False)
    rest(kd)
    assert [r["from_store"] for r in rest(at)] == [1, 0, 0, 0, 0]
    other = sequence(flat, seed=1, ensembles=False)
    rest(other)
    assert not set(other.keys) & set(kd.keys)


def test_a_sequence_without_ensembles_ends_with_its_last_generation(flat: dict[str, Any]) -> None:
    with_them, without = rest(sequence(flat)), rest(sequence(flat, ensembles=False))
    assert without[-1]["finished"] == 1
    assert without[-1]["val/accuracy"] == with_them[-1]["val/accuracy"]
    assert not any("ensemble" in key or "scratch" in key for key in without[-1])


@pytest.mark.parametrize("stop_at", [0, 1, 2, 3, 7, 12])
def test_a_restored_sequence_continues_bit_for_bit(
    flat: dict[str, Any], tmp_path: Path, stop_at: int
) -> None:
    first = sequence(flat)
    begun = [report(first) for _ in range(stop_at)]
    first.save(tmp_path)
    second = sequence(flat)
    second.load(tmp_path)
    resumed = begun + rest(second)
    undisturbed = rest(sequence(flat, **{"teacher.store": str(tmp_path / "another")}))
    assert resumed == undisturbed


def test_a_checkpoint_whose_members_are_gone_is_refused(
    flat: dict[str, Any], tmp_path: Path
) -> None:
    trial = sequence(flat)
    for _ in range(EPOCHS):
        trial.next_epoch()
    trial.save(tmp_path)
    shutil.rmtree(flat["teacher.store"])
    with pytest.raises(TeacherError, match=f"{trial.keys[0]} of the sequence is no longer in"):
        sequence(flat).load(tmp_path)


def test_a_checkpoint_of_another_sequence_is_refused(flat: dict[str, Any], tmp_path: Path) -> None:
    sequence(flat).save(tmp_path)
    with pytest.raises(ConfigError, match="another sequence"):
        sequence(flat, chain="resnet8x0.25,resnet8x0.125").load(tmp_path)


def test_the_test_split_scores_members_and_ensembles(flat: dict[str, Any]) -> None:
    trial = sequence(flat)
    with pytest.raises(ConfigError, match="when all of its members are trained"):
        trial.test()
    rest(trial)
    tested = trial.test()
    assert set(tested) == {
        *("test/accuracy", "test/top5", "test/loss", "ensemble/members"),
        *(f"{kind}/{n}/test_accuracy" for kind in ("generation", "scratch") for n in range(3)),
        *("ensemble/generations_test_accuracy", "ensemble/scratch_test_accuracy"),
    }
    assert tested["generation/2/test_accuracy"] == tested["test/accuracy"]


def test_a_member_that_diverges_ends_the_sequence(flat: dict[str, Any]) -> None:
    history = rest(sequence(flat, **{"train.lr": 1e30}))
    assert (history[-1]["diverged"], history[-1]["finished"]) == (1, 0)
    assert history[-1]["val/accuracy"] == 0
    assert len(history) <= EPOCHS


def test_generations_are_written_with_a_star(flat: dict[str, Any]) -> None:
    assert parse_sequence({**flat, "chain": "wrn_16_1*5"}).networks == ("wrn_16_1",) * 5
    mixed = parse_sequence({**flat, "chain": " wrn_16_8, wrn_16_3 ,wrn_16_1 * 2"})
    assert mixed.networks == ("wrn_16_8", "wrn_16_3", "wrn_16_1", "wrn_16_1")


def test_the_canonical_form_is_a_sequence_again(flat: dict[str, Any]) -> None:
    config = parse_sequence({**flat, "temperature": 3, "method": "kd", "seed": 4})
    canonical = config.flat()
    assert canonical["chain"] == ",".join(NETWORKS)
    assert (canonical["temperature"], canonical["alpha"], canonical["seed"]) == (3, 0.9, 4)
    again = parse_sequence(canonical)
    assert again.flat() == canonical
    assert again.generation(1, "k").flat() == config.generation(1, "k").flat()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain": None}, "chain must be networks separated by commas"),
        ({"chain": "resnet8,,resnet8"}, "chain must be networks separated by commas"),
        ({"chain": "resnet8*0"}, "chain must be networks separated by commas"),
        ({"chain": "resnet8"}, "chain must have 2 networks at least"),
        ({"chain": "resnet8,wrn_16_2x"}, "unknown model 'wrn_16_2x'"),
        ({"student": "resnet8"}, "'student' is of one network"),
        ({"teacher": "resnet8"}, "'teacher' describes a teacher, and 'chain' names them"),
        ({"teacher.lr": 0.1}, "'teacher.lr' describes a teacher"),
        ({"label_smoothing": 0.1}, "'label_smoothing' describes a teacher"),
        ({"method": "scratch"}, "method 'scratch' has no teacher"),
        ({"method": "dml"}, "method 'dml' has no teacher"),
        ({"method": "kdd"}, "unknown method 'kdd'"),
        ({"prune_ratio": 0.5}, r"prune_ratio must be 0 in a sequence"),
        ({"role": "teacher"}, "role must be trial or finalist in a sequence"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"ensembles": "yes"}, "ensembles must be true or false, got 'yes'"),
        ({"temprature": 2.0}, "unknown key 'temprature' for method 'kd'; did you mean"),
        ({"temperature": -1.0}, "temperature must be"),
    ],
)
def test_a_sequence_is_checked_before_any_work(
    flat: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse_sequence({**flat, **change})


def test_a_pair_that_the_method_cannot_serve_fails_before_any_training(
    flat: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="block4"):
        sequence(flat, method="at", **{"method.blocks": 4})
    with pytest.raises(ValueError, match="this schedule has no drops"):
        sequence(flat, method="eskd")
    assert not Path(flat["teacher.store"]).exists()
