import itertools
import json
import types
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdtune.config import (
    ConfigError,
    decode,
    known_keys,
    method_keys,
    parse,
    teacher_trial,
    without_teacher,
)
from kdtune.config.keys import Chosen, field_of, routes
from kdtune.objectives import OBJECTIVES
from kdtune.tracking.canonical import canonical_params
from kdtune.views import AUGMENTS

AXES = {
    "temperature": 2.0,
    "alpha": 0.5,
    "label_smoothing": 0.1,
    "teacher_epochs": 5,
    "augment": "mixup",
    "prune_ratio": 0.3,
}
POLICIES = AUGMENTS.names()
CHOICES = list(itertools.product(OBJECTIVES.names(), POLICIES))


def complete(method: str, augment: str) -> dict[str, Any]:
    """That choice, with what it cannot do without."""
    flat: dict[str, Any] = {"method": method, "augment": augment}
    if AUGMENTS.get(augment).picks and not OBJECTIVES.get(method)().traits.teacher:
        flat["augment.criterion"] = "student_entropy"
    return flat


def refusal(flat: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        parse(flat)
    return str(error.value)


def test_the_six_axes_land_where_they_belong() -> None:
    config = parse(AXES)
    assert config.teacher is not None
    objective = config.objective.model_dump()
    assert (objective["temperature"], objective["alpha"]) == (2.0, 0.5)
    assert (config.teacher.label_smoothing, config.teacher.epochs) == (0.1, 5)
    assert (config.augment, config.prune_ratio) == ("mixup", 0.3)


@pytest.mark.parametrize(("method", "augment"), CHOICES)
def test_the_flat_form_is_complete_json_and_parses_to_the_same(method: str, augment: str) -> None:
    config = parse(complete(method, augment))
    flat = config.flat()
    assert json.loads(json.dumps(flat)) == flat
    assert set(flat) <= set(known_keys(method))
    assert parse(flat) == config


@pytest.mark.parametrize(("method", "augment"), CHOICES)
def test_a_trial_comes_back_from_its_parameters_as_texts(method: str, augment: str) -> None:
    own = {"train.lr": 1e-3, "data.train_limit": 100, "train.nesterov": False}
    config = parse({**complete(method, augment), **own})
    assert parse(decode(canonical_params(config.flat()))) == config


def _values(annotation: Any) -> list[Any]:
    """A few values of a field's type, good ones and bad ones."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [value for part in get_args(annotation) for value in _values(part)]
    pools: dict[Any, list[Any]] = {
        bool: [True, False],
        int: [0, 1, 2, 7],
        float: [0.0, 0.25, 0.5, 1.0, 3.5],
        str: ["", "0.5,0.25", "0.25,0.5", "magnitude", "slimming"],
        type(None): [None],
    }
    return pools.get(annotation, [0.5, 2])


@st.composite
def _flat_dicts(draw: st.DrawFn) -> dict[str, Any]:
    method, augment, of_teacher = (
        draw(st.sampled_from(names)) for names in (OBJECTIVES.names(), POLICIES, POLICIES)
    )
    chosen = complete(method, augment)
    if OBJECTIVES.get(method)().traits.teacher:
        chosen["teacher.augment"] = of_teacher
    choice = Chosen(method, augment, of_teacher)
    keys = sorted(set(routes(choice)) - {"method", "augment", "teacher.augment"})
    drawn = draw(st.lists(st.sampled_from(keys), unique=True, max_size=4))
    return chosen | {
        k: draw(st.sampled_from(_values(field_of(k, choice).annotation))) for k in drawn
    }


@settings(max_examples=400, deadline=None)
@given(_flat_dicts())
def test_any_choice_of_keys_comes_back_the_same_or_is_refused(flat: dict[str, Any]) -> None:
    try:
        config = parse(flat)
    except ConfigError:
        return
    canonical = config.flat()
    assert parse(canonical) == config
    assert parse(canonical).flat() == canonical
    assert decode(canonical_params(canonical)) == canonical


def test_numpy_scalars_are_accepted() -> None:
    given = {"temperature": np.float32(2.5), "teacher_epochs": np.int64(3), "seed": np.int32(4)}
    config = parse(given)
    assert config == parse({"temperature": 2.5, "teacher_epochs": 3, "seed": 4})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temprature": 4.0}, "unknown key 'temprature' for method 'kd'; did you mean 'temperat"),
        ({"method": "at", "method.bta": 1.0}, "did you mean 'method.beta'"),
        ({"method": "dml", "alpha": 0.4}, "'alpha' is not used by method 'dml'; it belongs to at"),
        ({"method.blocks": 4}, "key 'method.blocks' is not used by method 'kd'; it belongs to at"),
        ({"method": "sratch"}, "unknown method 'sratch'; did you mean 'scratch'"),
        ({"method": ""}, "unknown method ''. Choices: at, "),
        ({"method": 0}, "unknown method 0. Choices: at, "),
        ({"method": "scratch", "label_smoothing": 0.1}, "describes a teacher, and method 'scra"),
        ({"prune_ratio": 1.0}, "prune_ratio must be less than 1, got 1.0"),
        ({"temperature": 0.0}, "temperature must be greater than 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": "4"}, "temperature must be a valid number, got '4'"),
        ({"train.epochs": 2.5}, "train.epochs must be a valid integer, got 2.5"),
        ({"train.epochs": True}, "train.epochs must be a valid integer, got True"),
        ({"train.schedule": "cosin"}, "train.schedule must be 'step', 'cosine'"),
        ({"train.milestones": "0.8,0.2"}, "train.milestones must be rising shares"),
        ({"augment": "cutmx"}, "unknown augment 'cutmx'; did you mean 'cutmix'"),
        ({"teacher.augment": "cutot"}, "unknown teacher.augment 'cutot'; did you mean 'cutout'"),
        ({"prune.method": "l1"}, "unknown pruning method 'l1'"),
        ({"teacher_epochs": 50, "teacher.full_epochs": 20}, "at most teacher.full_epochs = 20"),
        ({"teacher.weights": "t.safetensors", "label_smoothing": 0.1}, "exists already"),
        ({"train.warmup_epochs": 30}, "train.warmup_epochs must be < train.epochs = 30, got 30"),
        ({"alpha": [0.1]}, "alpha must be a JSON scalar, got list"),
        ({"train.momentum": 0.0}, "train.nesterov needs train.momentum > 0"),
        ({"teacher.momentum": 0.0}, "teacher.nesterov needs teacher.momentum > 0"),
        ({"teacher.milestones": "0.8,0.2"}, "teacher.milestones must be rising shares"),
        ({"train.epochs": 10**6}, "train.epochs must be less than or equal to 100000"),
        ({"seed": 10**5000}, "seed must be below 2**63, got 2**16609 or more"),
        ({"student": "a\0"}, "student must be Unicode without NUL characters"),
        ({"method": []}, "method must be a JSON scalar, got list []"),
        ({1: 2}, "a key must be a text, got int 1"),
        ({"data.label_noise": 1.5}, "data.label_noise must be less than or equal to 1, got 1.5"),
        ({"data.imbalance": 0.0}, "data.imbalance must be greater than or equal to 0.001, got 0.0"),
    ],
)
def test_bad_input_is_one_clear_error(given: dict[str, Any], message: str) -> None:
    assert message in refusal(given)


def test_the_message_of_an_endless_value_is_short_and_keeps_the_remedy() -> None:
    message = refusal({"method": "k" * 100_000})
    assert len(message) < 2200
    assert message.startswith("unknown method 'kkk")
    assert message.endswith(", scratch, sp")
    assert "characters left out" in message


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.none())
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*known_keys("kd"), "method.beta", "x"]), VALUES, max_size=5)
)
def test_any_flat_dict_parses_or_raises_the_documented_error(flat: dict[str, Any]) -> None:
    try:
        config = parse(flat)
    except ConfigError:
        return
    assert parse(config.flat()) == config


def test_none_means_not_given() -> None:
    unset = {"temperature": None, "method.beta": None, "augment.side": None, "method": None}
    assert parse(unset) == parse({})


# Augmentation policies


def test_the_options_of_a_policy_go_to_that_policy() -> None:
    config = parse({"augment": "cutout", "augment.side": 5})
    assert config.views.model_dump() == {"side": 5}
    assert config.flat()["augment.side"] == 5


def test_an_option_of_another_policy_is_refused_with_its_owner() -> None:
    message = refusal({"augment": "standard", "augment.side": 5})
    assert message == "key 'augment.side' is not used by augment 'standard'; it belongs to cutout"


def test_a_value_that_a_policy_refuses_is_named_by_its_flat_key() -> None:
    assert refusal({"augment": "cutout", "augment.side": 0}).startswith("augment.side must be")


def test_the_teacher_has_options_of_its_own() -> None:
    flat = {"augment": "cutout", "augment.side": 3, "teacher.augment": "cutout"}
    config = parse({**flat, "teacher.augment.side": 6})
    assert config.teacher is not None
    assert (config.views.model_dump(), config.teacher.views.model_dump()) == (
        {"side": 3},
        {"side": 6},
    )
    trained = teacher_trial(config)
    assert (trained.augment, trained.views.model_dump()) == ("cutout", {"side": 6})
    assert trained.flat()["augment.side"] == 6


def test_an_option_of_another_policy_of_the_teacher_is_refused_with_its_owner() -> None:
    message = refusal({"augment": "cutout", "teacher.augment.side": 6})
    assert "not used by teacher.augment 'standard'; it belongs to cutout" in message


def test_an_option_of_a_teacher_that_does_not_exist_is_refused() -> None:
    flat = {"method": "scratch", "teacher.augment": "cutout", "teacher.augment.side": 6}
    assert "describes a teacher, and method 'scratch' has none" in refusal(flat)


@pytest.mark.parametrize("augment", ["mixup", "cutmix", "cutmix_pick"])
def test_soft_labels_are_learned_from_plain_and_mixed_images_by_default(augment: str) -> None:
    assert parse({"augment": augment}).batches == "plain+mixed"
    assert parse({"augment": augment, "augment.batches": "mixed"}).batches == "mixed"


@pytest.mark.parametrize("method", ["scratch", "at", "dml"])
def test_a_method_without_soft_labels_trains_on_the_mixed_images_alone(method: str) -> None:
    assert parse({"method": method, "augment": "cutmix"}).batches == "mixed"
    flat = {"method": method, "augment": "cutmix", "augment.batches": "plain+mixed"}
    assert "which this method has none of" in refusal(flat)


def test_alpha_above_0_brings_soft_labels_to_a_feature_method() -> None:
    assert parse({"method": "at", "alpha": 0.5, "augment": "cutmix"}).batches == "plain+mixed"


@pytest.mark.parametrize("augment", [n for n in AUGMENTS.names() if not AUGMENTS.get(n).mixes])
def test_batches_mean_nothing_where_nothing_is_mixed(augment: str) -> None:
    assert parse({"augment": augment}).batches is None
    message = refusal({"augment": augment, "augment.batches": "mixed"})
    assert f"augment '{augment}' mixes none; drop it" in message


@pytest.mark.parametrize("criterion", ["kld", "teacher_entropy"])
def test_a_criterion_that_asks_the_teacher_needs_one(criterion: str) -> None:
    picked = {"augment": "cutmix_pick", "augment.criterion": criterion}
    assert parse(picked).views.model_dump() == {"criterion": criterion}
    message = refusal({**picked, "method": "scratch"})
    assert f"augment.criterion '{criterion}' asks a teacher, and there is none" in message
    message = refusal(
        {"teacher.augment": "cutmix_pick", "teacher.augment.criterion": criterion},
    )
    assert f"teacher.augment.criterion '{criterion}' asks a teacher" in message


def test_the_students_own_entropy_needs_no_teacher() -> None:
    own = {"augment": "cutmix_pick", "augment.criterion": "student_entropy"}
    assert parse({**own, "method": "scratch"}).batches == "mixed"


@pytest.mark.parametrize("phase", ["finetune", "pre_distill", "post_distill"])
def test_a_criterion_that_asks_the_teacher_needs_one_in_every_phase(phase: str) -> None:
    flat = {"augment": "cutmix_pick", "prune_ratio": 0.5, "prune.phase": phase}
    mixed = {**flat, "augment.batches": "mixed"}
    assert f"prune.phase '{phase}' trains without one for a while" in refusal(mixed)
    assert parse({**mixed, "augment.criterion": "student_entropy"}).prune.phase == phase
    assert parse(flat).batches == "plain+mixed"  # labels are then learned from plain images


# Pruning


def test_shares_per_stage_set_the_ratio_to_their_mean() -> None:
    config = parse({"prune.stages": "0.6,0.3,0.1"})
    assert config.prune_ratio == 0.333333
    assert parse({"prune.stages": "0.6,0.3,0.1", "prune_ratio": 1 / 3}) == config
    assert config.prune.ratios == (0.6, 0.3, 0.1)
    assert parse(config.flat()) == config


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1, "a third"])
def test_shares_per_stage_refuse_another_ratio(ratio: Any) -> None:
    message = refusal({"prune.stages": "0.6,0.3,0.15", "prune_ratio": ratio})
    assert "prune_ratio must be left out, or be the mean 0.35 of prune.stages" in message
    assert message.endswith(f"got {ratio!r}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prune.stages": "0.6;0.3"}, "prune.stages must be the shares removed per stage"),
        ({"prune.stages": "0.6,1.0"}, "prune.stages must be the shares removed per stage"),
        ({"prune.stages": "0,0"}, "prune.stages must be the shares removed per stage"),
        (
            {"prune.stages": "0.5", "prune.method": "magnitude"},
            "prune.stages needs prune.method=l1_filter, got 'magnitude'",
        ),
        (
            {"prune_ratio": 0.5, "prune.skip": "rethinking", "prune.method": "slimming"},
            "prune.skip needs prune.method=l1_filter, got 'slimming'",
        ),
        (
            {"prune_ratio": 0.5, "prune.sparsity": 1e-5},
            "prune.sparsity needs prune.method=slimming, got 'l1_filter'",
        ),
        ({"prune.phase": "pre_postt"}, "prune.phase must be 'finetune', 'pre_distill'"),
        ({"method": "dml", "prune_ratio": 0.5}, "prune_ratio must be 0 with method 'dml'"),
        (
            {"method": "fitnet", "prune_ratio": 0.5, "prune.phase": "post_distill"},
            "method 'fitnet' starts with a warm-up before it",
        ),
    ],
)
def test_settings_of_pruning_that_contradict_each_other_are_refused(
    given: dict[str, Any], message: str
) -> None:
    assert message in refusal(given)


def test_a_trial_that_is_not_pruned_has_no_settings_of_pruning() -> None:
    config = parse({"prune_ratio": 0.0, "prune.method": "magnitude", "prune.at": 0.2})
    assert config == parse({})
    assert not any(key.startswith("prune.") for key in config.flat())


def test_a_pruned_trial_distils_before_and_after_by_default() -> None:
    assert parse({"prune_ratio": 0.5}).prune.phase == "pre_post"
    assert parse({"prune_ratio": 0.5, "method": "scratch"}).prune.phase == "finetune"


@pytest.mark.parametrize("phase", ["pre_distill", "post_distill", "pre_post", "self_distill"])
def test_a_phase_that_distils_needs_a_method_with_a_teacher(phase: str) -> None:
    flat = {"prune_ratio": 0.5, "prune.phase": phase}
    assert parse(flat).prune.phase == phase
    message = refusal({**flat, "method": "scratch"})
    assert f"prune.phase '{phase}' distils, and method 'scratch' has no teacher" in message


def test_slimming_has_the_strength_of_its_paper_by_default() -> None:
    pruned = {"prune_ratio": 0.5, "prune.method": "slimming"}
    assert parse(pruned).prune.sparsity == 1e-4
    assert parse({**pruned, "prune.sparsity": 1e-5}).prune.sparsity == 1e-5
    assert parse({"prune_ratio": 0.5}).prune.sparsity is None


# What follows from a configuration


def test_a_full_teacher_has_the_full_schedule_and_a_short_one_its_own() -> None:
    full = teacher_trial(parse({"teacher.full_epochs": 200}))
    short = teacher_trial(parse({"teacher.full_epochs": 200, "teacher_epochs": 35}))
    assert (full.train.epochs, full.train.schedule) == (200, "step")
    assert (short.train.epochs, short.train.schedule) == (35, "early_stop")


def test_a_teacher_shares_the_data_and_smooths_its_own_labels() -> None:
    spoilt = {"data.label_noise": 0.4, "data.imbalance": 0.6}
    flat = {"label_smoothing": 0.2, "data.seed": 3, "teacher": "resnet14", **spoilt}
    trial = teacher_trial(parse(flat))
    assert trial.objective.model_dump() == {"label_smoothing": 0.2}
    assert (trial.student, trial.data.seed, trial.teacher) == ("resnet14", 3, None)
    assert (trial.data.label_noise, trial.data.imbalance) == (0.4, 0.6)


def test_a_teacher_of_mixed_images_learns_their_mixed_labels() -> None:
    assert teacher_trial(parse({"teacher.augment": "cutmix"})).batches == "mixed"


def test_a_trial_without_its_teacher_keeps_everything_else() -> None:
    alone = parse(without_teacher({**AXES, "train.lr": 0.2, "method.beta": None}))
    assert alone.teacher is None
    assert (alone.method, alone.augment, alone.train.lr) == ("scratch", "mixup", 0.2)
    assert (alone.prune_ratio, alone.prune.phase) == (0.3, "finetune")


def test_an_unknown_key_is_refused_without_a_teacher_too() -> None:
    assert "unknown key 'train.eopchs'" in refusal(without_teacher({"train.eopchs": 3}))


@pytest.mark.parametrize(("method", "augment"), CHOICES)
def test_every_trial_has_a_counterpart_without_a_teacher(method: str, augment: str) -> None:
    flat = parse(complete(method, augment)).flat()
    alone = parse(without_teacher(flat))
    assert (alone.method, alone.teacher, alone.augment) == ("scratch", None, augment)


def test_the_keys_of_a_method_are_its_fields() -> None:
    assert method_keys("dml") == ["temperature", "method.beta", "method.members"]


def test_texts_of_an_unknown_key_or_of_another_type_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown key 'alhpa' for method 'kd'; did you mean"):
        decode({"alhpa": "0.1"})
    with pytest.raises(ConfigError, match=r"train\.epochs must be .* got 'many'"):
        decode({"train.epochs": "many"})


def test_a_text_may_set_an_option_of_a_policy_that_is_named_elsewhere() -> None:
    assert decode({"augment.side": "4"}) == {"augment.side": 4}
    with pytest.raises(ConfigError, match="not used by augment 'standard'"):
        decode({"augment": "standard", "augment.side": "4"})
