"""Nothing in the packages runs code that a file holds, and nothing hands a text to a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    file
    for top in ("kdtune", "search_spaces", "trainables")
    for file in sorted((ROOT / top).rglob("*.py"))
]
UNSAFE_MODULES = {
    *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle"),
    *("marshal", "shelve", "skops"),
}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("torch.export.load", "torch.hub.load", "torch.jit.load", "pandas.read_pickle"),
    *("tune.Tuner.restore", "Tuner.restore"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
}
NEEDED = {
    "torch.load": ("weights_only", True),
    "Environment": ("autoescape", True),
}
"""Calls that are safe with this argument alone."""
FORBIDDEN = {"shell": True, "verify": False, "allow_pickle": True}
"""Arguments of no call at all."""

JUSTIFIED = {
    "kdtune/cluster/description.py": {"yaml.load"},  # By a SafeLoader: see the last test.
    "kdtune/search/samplers.py": {"pickle"},  # Ray's own interface; no search calls it.
}


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names = {alias.name.partition(".")[0] for alias in node.names}
                yield from names & UNSAFE_MODULES
            case ast.ImportFrom(module=str(module)):
                yield from {module.partition(".")[0]} & UNSAFE_MODULES
            case ast.Call():
                yield from _in_call(node)


def _in_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {word.arg: ast.literal_eval(word.value) for word in node.keywords if _plain(word.value)}
    if name in UNSAFE_CALLS:
        yield name
    if name in NEEDED:
        key, wanted = NEEDED[name]
        if given.get(key) is not wanted:
            yield f"{name} without {key}={wanted}"
    for key, value in FORBIDDEN.items():
        if key in given and given[key] is value:
            yield f"{key}={value}"


def _plain(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant)


def test_nothing_is_unpickled_evaluated_or_handed_to_a_shell() -> None:
    found = {
        str(file.relative_to(ROOT)): names
        for file in SOURCES
        if (names := set(findings(file.read_text(encoding="utf-8"))))
    }
    assert found == JUSTIFIED


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("eval(text)", "eval"),
        ("torch.load(file)", "torch.load without weights_only=True"),
        ("torch.load(file, weights_only=False)", "torch.load without weights_only=True"),
        ("np.load(file, allow_pickle=True)", "allow_pickle=True"),
        ("yaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("subprocess.run(text, shell=True)", "shell=True"),
        ("requests.get(uri, verify=False)", "verify=False"),
        ("Environment(loader=x)", "Environment without autoescape=True"),
    ],
)
def test_the_search_finds_what_it_is_to_find(source: str, said: str) -> None:
    assert said in set(findings(source))


def test_yaml_that_builds_objects_is_refused(tmp_path: Path) -> None:
    from kdtune.cluster.description import read

    file = tmp_path / "cluster.yaml"
    made = tmp_path / "made"
    file.write_text(f"a: !!python/object/apply:pathlib.Path.touch [!!python/name:x '{made}']")
    with pytest.raises(ValueError, match="is not YAML"):
        read(file)
    assert not made.exists()
