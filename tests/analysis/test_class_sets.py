import json
from pathlib import Path

import numpy as np
import pytest

from kdtune.analysis.class_sets import (
    agreement,
    class_index,
    class_indices,
    hierarchy_text,
    sets_of_distances,
    sets_of_superclasses,
    superclasses,
)

PETS = ("beagle", "Collie", "goldfish", "carp", "maine_coon")
FAMILIES = {"dogs": ["beagle", "collie"], "fish": ["goldfish", "carp"], "cats": ["maine coon"]}


def cifar100_names() -> list[str]:
    file = Path(__file__).parents[2] / "kdtune/analysis/cifar100.json"
    return sorted(name for members in json.loads(file.read_text()).values() for name in members)


def test_a_class_is_found_by_name_or_by_number() -> None:
    assert class_indices("collie, 3,Maine-Coon", PETS) == [1, 3, 4]


def test_a_name_that_is_a_number_goes_before_the_number() -> None:
    assert class_index("2", ("2", "1", "0")) == 0


def test_an_unknown_class_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown class 'gold' of 5.*did you mean 'goldfish'"):
        class_index("gold", PETS)
    with pytest.raises(ValueError, match="unknown class '5' of 5"):
        class_index("5", PETS)


def test_of_many_classes_only_similar_names_are_listed() -> None:
    names = [f"class{number}" for number in range(500)]
    with pytest.raises(ValueError, match="did you mean") as refused:
        class_index("clas77", names)
    assert len(str(refused.value)) < 300


def test_a_name_that_two_classes_have_is_refused_with_their_numbers() -> None:
    with pytest.raises(ValueError, match=r"2 classes are called 'crane'.*\[0, 2\]"):
        class_index("crane", ("crane", "stork", "crane"))


def test_a_class_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="given once, got '1,collie'"):
        class_indices("1,collie", PETS)


def test_similar_are_siblings_and_dissimilar_the_classes_of_other_superclasses() -> None:
    groups = superclasses(json.dumps(FAMILIES), PETS)
    sets = sets_of_superclasses(groups)
    assert sets.similar.astype(int).tolist() == [
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert sets.dissimilar[0].tolist() == [False, False, True, True, True]
    assert sets.dissimilar[4].tolist() == [True, True, True, True, False]


def test_a_class_that_the_hierarchy_leaves_out_is_in_no_set() -> None:
    text = json.dumps({"dogs": ["beagle", "collie"], "fish": ["goldfish"]})
    groups = superclasses(text, PETS)
    sets = sets_of_superclasses(groups)
    assert [int(group) for group in groups[3:]] == [-1, -1]
    for members in (sets.similar, sets.dissimilar):
        assert not members[:, 3:].any()
        assert not members[3:].any()


def test_the_superclasses_of_cifar100_are_twenty_of_five_classes() -> None:
    names = cifar100_names()
    assert len(set(names)) == 100
    groups = superclasses("cifar100", names)
    assert np.bincount(groups).tolist() == [5] * 20
    sets = sets_of_superclasses(groups)
    assert (sets.similar.sum(axis=1) == 4).all()
    assert (sets.dissimilar.sum(axis=1) == 95).all()


def test_cifar100_is_known_with_its_common_misspelling_and_blanks() -> None:
    names = [name.replace("_", " ").replace("crab", "cra") for name in cifar100_names()]
    groups = superclasses("cifar100", names)
    assert groups[names.index("cra")] == groups[names.index("lobster")]


def test_a_class_in_two_superclasses_is_refused() -> None:
    text = json.dumps({"dogs": ["beagle"], "hounds": ["Beagle"]})
    with pytest.raises(ValueError, match=r"one superclass.*'Beagle' again, in 'hounds'"):
        superclasses(text, PETS)


def test_a_hierarchy_is_kept_as_what_its_file_says(tmp_path: Path) -> None:
    file = tmp_path / "pets.json"
    file.write_text(json.dumps(FAMILIES, indent=4))
    text = hierarchy_text(str(file))
    file.write_text("{}")
    assert json.loads(text) == FAMILIES
    assert hierarchy_text(text) == text
    assert hierarchy_text("cifar100") == "cifar100"


def test_a_hierarchy_that_is_no_file_or_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cifar100 or the path of a JSON file, got 'cifar10'"):
        hierarchy_text("cifar10")
    file = tmp_path / "list.json"
    file.write_text('["beagle"]')
    with pytest.raises(ValueError, match=r"must be JSON like .*, got \[\"beagle\"\]"):
        hierarchy_text(str(file))
    file.write_text("dogs: beagle")
    with pytest.raises(ValueError, match="is not JSON"):
        hierarchy_text(str(file))


@pytest.mark.parametrize(
    ("classes", "near", "far"), [(1000, 10, 900), (100, 1, 90), (10, 1, 8), (3, 1, 1)]
)
def test_sets_by_distance_are_the_nearest_and_the_farthest(
    classes: int, near: int, far: int
) -> None:
    line = np.arange(classes, dtype=float)
    sets = sets_of_distances(np.abs(line[:, None] - line), similar_share=0.01, dissimilar_share=0.9)
    assert (sets.similar.sum(axis=1) == near).all()
    assert (sets.dissimilar.sum(axis=1) == far).all()
    assert not (sets.similar & sets.dissimilar).any()
    assert not (sets.similar | sets.dissimilar).diagonal().any()
    assert np.flatnonzero(sets.similar[0]).tolist() == list(range(1, near + 1))
    assert np.flatnonzero(sets.dissimilar[0]).tolist() == list(range(classes - far, classes))


def test_a_share_that_is_whole_is_not_rounded_up() -> None:
    line = np.arange(101, dtype=float)
    assert 0.07 * 100 > 7
    sets = sets_of_distances(np.abs(line[:, None] - line), similar_share=0.07, dissimilar_share=0.5)
    assert sets.similar.sum(axis=1).tolist() == [7] * 101


def test_too_few_classes_for_both_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 1 and leaves none"):
        sets_of_distances(np.ones((2, 2)), similar_share=0.01, dissimilar_share=0.9)


def test_a_coincident_class_is_near_and_never_the_target_itself() -> None:
    places = np.array([0.0, 0.0, 1.0, 2.0])
    distances = np.abs(places[:, None] - places)
    sets = sets_of_distances(distances, similar_share=0.01, dissimilar_share=0.3)
    assert np.flatnonzero(sets.similar[1]).tolist() == [0]
    assert np.flatnonzero(sets.dissimilar[1]).tolist() == [3]


def test_agreement_is_the_share_of_the_reference_that_is_found() -> None:
    reference = np.array([[1, 1, 1, 1, 0], [0, 1, 0, 0, 0]], dtype=bool)
    found = np.array([[1, 0, 0, 0, 1], [0, 1, 1, 1, 1]], dtype=bool)
    assert agreement(reference, found).tolist() == [0.25, 1.0]
