import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdtune.config import ConfigError, decode, known_keys, parse, teacher_trial, without_teacher
from kdtune.objectives import OBJECTIVES

AXES = {
    "temperature": 2.0,
    "alpha": 0.5,
    "label_smoothing": 0.1,
    "teacher_epochs": 5,
    "augment": "mixup",
    "prune_ratio": 0.3,
}


def test_the_six_axes_land_where_they_belong() -> None:
    config = parse(AXES)
    assert config.teacher is not None
    assert config.objective.model_dump() == {"temperature": 2.0, "alpha": 0.5}
    assert (config.teacher.label_smoothing, config.teacher.epochs) == (0.1, 5)
    assert (config.augment, config.prune_ratio) == ("mixup", 0.3)


@pytest.mark.parametrize("method", OBJECTIVES.names())
def test_the_flat_form_is_complete_json_and_parses_to_the_same(method: str) -> None:
    config = parse({"method": method})
    flat = config.flat()
    assert json.loads(json.dumps(flat)) == flat
    assert set(flat) <= set(known_keys(method))
    assert parse(flat) == config


@pytest.mark.parametrize("method", OBJECTIVES.names())
def test_a_trial_comes_back_from_its_parameters_as_texts(method: str) -> None:
    config = parse({"method": method, "train.lr": 1e-3, "data.train_limit": 100})
    texts = {k: json.dumps(v) if not isinstance(v, str) else v for k, v in config.flat().items()}
    assert parse(decode(texts)) == config


def test_numpy_scalars_are_accepted() -> None:
    given = {"temperature": np.float32(2.5), "teacher_epochs": np.int64(3), "seed": np.int32(4)}
    config = parse(given)
    assert config == parse({"temperature": 2.5, "teacher_epochs": 3, "seed": 4})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temprature": 4.0}, "unknown key 'temprature' for method 'kd'; did you mean 'temperat"),
        ({"method": "at", "method.bta": 1.0}, "did you mean 'method.beta'"),
        ({"method": "at", "temperature": 4.0}, "not used by method 'at'; it belongs to kd"),
        ({"method.beta": 4.0}, "key 'method.beta' is not used by method 'kd'; it belongs to at"),
        ({"method": "sratch"}, "unknown method 'sratch'; did you mean 'scratch'"),
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
        ({"prune.method": "l1"}, "unknown pruning method 'l1'"),
        ({"teacher_epochs": 50, "teacher.full_epochs": 20}, "at most teacher.full_epochs = 20"),
        ({"teacher.weights": "t.safetensors", "label_smoothing": 0.1}, "exists already"),
        ({"train.warmup_epochs": 30}, "train.warmup_epochs must be < train.epochs = 30, got 30"),
        ({"alpha": [0.1]}, "alpha must be a JSON scalar, got list"),
        ({"train.momentum": 0.0}, "train.nesterov needs train.momentum > 0"),
    ],
)
def test_bad_input_is_one_clear_error(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(given)  # type: ignore[arg-type]
    assert message in str(error.value)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.none())
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*known_keys("kd"), "method.beta", "x"]), VALUES, max_size=5)
)
def test_any_flat_dict_parses_or_raises_the_documented_error(flat: dict[str, object]) -> None:
    try:
        config = parse(flat)  # type: ignore[arg-type]
    except ConfigError:
        return
    assert parse(config.flat()) == config


def test_none_means_not_given() -> None:
    assert parse({"temperature": None, "method.beta": None}) == parse({})


def test_a_full_teacher_has_the_full_schedule_and_a_short_one_its_own() -> None:
    full = teacher_trial(parse({"teacher.full_epochs": 200}))
    short = teacher_trial(parse({"teacher.full_epochs": 200, "teacher_epochs": 35}))
    assert (full.train.epochs, full.train.schedule) == (200, "step")
    assert (short.train.epochs, short.train.schedule) == (35, "early_stop")


def test_a_teacher_shares_the_data_and_smooths_its_own_labels() -> None:
    trial = teacher_trial(parse({"label_smoothing": 0.2, "data.seed": 3, "teacher": "resnet14"}))
    assert trial.objective.model_dump() == {"label_smoothing": 0.2}
    assert (trial.student, trial.data.seed, trial.teacher) == ("resnet14", 3, None)


def test_a_trial_without_its_teacher_keeps_everything_else() -> None:
    alone = parse(without_teacher({**AXES, "train.lr": 0.2}))
    assert alone.teacher is None
    assert (alone.method, alone.augment, alone.train.lr) == ("scratch", "mixup", 0.2)
