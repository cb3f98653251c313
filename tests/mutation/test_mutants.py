"""The rules of the mutants: what is changed, what is left alone, and that a seed draws the same ones again."""

import sys
from pathlib import Path

import attrs
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sampling import in_order, shares, wilson

SOURCE = '''
from typing import Protocol

Verdict = int | None
LIMIT = 2

class View(Protocol):
    """A view."""
    number: int = 3

def judge(held: int | None, name: str = "io") -> bool:
    """Judge."""
    note(held, "a text for people")
    if held:
        raise ValueError("is held", 7)
    return held < LIMIT or f"{held + 1}" == TEXT

class Record:
    __slots__ = ("held",)

    def __repr__(self):
        return "<" + str(1 + 1)
'''


@attrs.frozen
class Drawn:
    id: str


@pytest.fixture
def found(tmp_path, monkeypatch):
    """The mutants of a small file; needs the tools of `make mutation`."""
    pytest.importorskip("mutmut.mutation.mutators", reason="make mutation installs it")
    import mutants  # noqa: PLC0415 - needs what may be missing

    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "room.py").write_text(SOURCE, encoding="utf-8")
    return mutants, mutants.mutants_of(tmp_path / "room.py")


def test_code_is_changed_and_text_is_not(found):
    """A survivor in a docstring or an annotation tells nothing, and hides the one that does."""
    changes = {(mutant.before, mutant.after) for mutant in found[1]}

    assert {
        ("LIMIT = 2", "LIMIT = None"),
        ("2", "3"),
        ('"io"', '"XXioXX"'),
        ('note(held, "a text for people")', "pass"),
        ('note(held, "a text for people")', 'note(None, "a text for people")'),
        ('note(held, "a text for people")', "note(held, None)"),
        ('note(held, "a text for people")', 'note("a text for people")'),
        ('note(held, "a text for people")', "note(held, )"),
        ("held", "not (held)"),
        ('raise ValueError("is held", 7)', "pass"),
        ('return held < LIMIT or f"{held + 1}" == TEXT', "return None"),
        ("< LIMIT", "<= LIMIT"),
        ('held < LIMIT or f"{held + 1}" == TEXT', 'held < LIMIT and f"{held + 1}" == TEXT'),
        ("== TEXT", "!= TEXT"),
    } == changes


def test_a_mutant_differs_in_its_one_place(found):
    """What else would change with it would be blamed on the tests."""
    mutants, those = found
    changed = [mutants.mutated(mutant) for mutant in those]

    lines = SOURCE.splitlines()
    for mutant, source in zip(those, changed, strict=True):
        differing = [
            number for number, line in enumerate(source.splitlines(), 1) if line != lines[number - 1]
        ]
        assert [mutant.line] == differing, mutant


def test_a_mutant_keeps_its_name_when_lines_move(found, tmp_path):
    """The page of accepted survivors names them; a comment further up must not make them new."""
    mutants, those = found
    (tmp_path / "moved.py").write_text("# A comment.\n" + SOURCE, encoding="utf-8")
    moved = [attrs.evolve(mutant, file="room.py") for mutant in mutants.mutants_of(tmp_path / "moved.py")]

    assert [mutant.id for mutant in those] == [mutant.id for mutant in moved]
    assert len(those) == len({mutant.id for mutant in those})


def test_a_seed_draws_the_same_mutants_and_another_seed_others():
    """A score that nobody can measure again is a claim."""
    those = [Drawn(f"{number:08x}") for number in range(100)]

    assert in_order(those, 1)[:10] == in_order(those[::-1], 1)[:10]
    assert in_order(those, 1)[:10] != in_order(those, 2)[:10]


def test_each_file_has_its_share():
    """Without it a seed could leave out the room that has the hole."""
    assert {"a": 6, "b": 3, "c": 1} == shares({"a": 600, "b": 299, "c": 1, "empty": 0}, 10)
    assert {"a": 2, "b": 1} == shares({"a": 2, "b": 1}, 10)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (81, 263, 0.255, 0.366)]
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    """Near one, where scores of mutants lie, the interval of the normal law promises more than all."""
    assert pytest.approx((low, high), abs=6e-4) == wilson(hits, trials)
