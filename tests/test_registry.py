import pytest

from kdtune.registry import Registry, nearest


def test_what_is_registered_is_found_under_its_name() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    registry.register("two")(2)
    assert (registry.get("one"), registry.names(), "two" in registry) == (1, ["one", "two"], True)


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    with pytest.raises(
        ValueError, match=r"unknown number 'onn'; did you mean 'one'\? Choices: one"
    ):
        registry.get("onn")


def test_a_name_is_taken_once() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry.register("one")(2)


def test_a_name_like_no_other_gets_the_choices_alone() -> None:
    assert nearest("zzz", ["a", "b"]) == ". Choices: a, b"
