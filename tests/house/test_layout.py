"""The top level is fixed, and no test folder may shadow what it tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

PACKAGES = {"scheduler", "pools", "policies"}
TOP_LEVEL = PACKAGES | {"pyproject.toml", "tests", "docs", "README.md", "LICENSE", "Makefile"}
KINDS_OF_PROOF = {
    "unit",
    "model",
    "simulation",
    "contract",
    "threads",
    "interleavings",
    "stress",
    "storm",
    "typing",
    "prose",
    "house",
    "benchmarks",
    "conformance",
    "soak",
    "mutation",
}


def _visible(folder, *, only_folders=False):
    return {
        path.name
        for path in folder.iterdir()
        if not path.name.startswith((".", "__pycache__")) and (path.is_dir() or not only_folders)
    }


def test_the_top_level_holds_what_every_reader_expects_and_no_more():
    """Whoever opens the project sees three packages, tests, docs, and nothing to wonder about."""
    assert TOP_LEVEL == _visible(ROOT)


def test_each_test_folder_is_named_by_its_kind_of_proof():
    """A folder named after a package would shadow that package in some of pytest's import modes."""
    assert set() == _visible(ROOT / "tests", only_folders=True) - KINDS_OF_PROOF


def test_no_test_folder_is_a_package():
    """An __init__.py changes what pytest puts on the path, and with it what the tests import."""
    assert [] == sorted((ROOT / "tests").rglob("__init__.py"))


def test_each_package_tells_type_checkers_that_it_is_typed():
    """Without its own py.typed a package's annotations are invisible to users."""
    assert set() == {package for package in PACKAGES if not (ROOT / package / "py.typed").is_file()}
