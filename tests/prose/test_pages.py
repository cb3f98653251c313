"""The pages hold together, and hold with the code: links, contents, words, rooms, invariants."""

import re
from pathlib import Path

import pytest

import policies
import pools
import scheduler
from scheduler._core import invariants
from scheduler._report import Phase

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PACKAGES = (scheduler, pools, policies)

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\((?P<to>[^)\s]+)\)")


def _name(page):
    return page.relative_to(ROOT).as_posix()


def _read(page):
    return page.read_text(encoding="utf-8")


def _prose(page):
    """Return a page without its code, and without the targets of its links."""
    return re.sub(r"\]\([^)]*\)", "]", CODE.sub("", FENCED.sub("", _read(page))))


def _anchors(page):
    """Return the anchors of a page's headings, as the page builder makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", _read(page)), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_between_pages_leads_somewhere(page):
    """A dead link on the way to the answer sends the reader away without it."""
    dead = []
    for found in LINK.finditer(FENCED.sub("", _read(page))):
        path, _, anchor = found["to"].partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        exists = target.is_file()
        if not exists or (anchor and anchor not in _anchors(target)):
            dead.append(found["to"])

    assert [] == dead


def test_the_table_of_contents_names_every_page():
    """A page that is in no menu is read by nobody."""
    settings = _read(ROOT / ".mkdocs.yml")
    listed = re.findall(r"^ +- (?:.+: )?(\S+\.md)$", settings, re.MULTILINE)
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}

    assert sorted(listed) == sorted(path for path in there if not path.startswith("changelog.d/"))


def test_the_sentence_is_the_same_everywhere():
    """It is the architecture; two versions of it would be two architectures."""
    (sentence,) = re.findall(r"Policies decide\..*?never resized\.", scheduler.__doc__, re.DOTALL)

    for page in (ROOT / "README.md", DOCS / "index.md", DOCS / "explanation" / "architecture.md"):
        assert (
            sentence.split()
            == re.search(
                r"Policies decide\..*?never resized\.",
                re.sub(r"\*\*|^> ", "", _read(page), flags=re.MULTILINE),
                re.DOTALL,
            )[0].split()
        ), _name(page)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_pages_use_our_words(page):
    """One word per idea: what you submit is a job, and a pool is no executor. An asyncio task is asyncio's."""
    assert [] == re.findall(
        r"(?<!asyncio )\btasks?\b|\bpool executors?\b|\bjob queues?\b", _prose(page), re.IGNORECASE
    )


@pytest.mark.parametrize("page", [page for page in PAGES if "changelog" not in _name(page)], ids=_name)
def test_each_sentence_has_a_line_of_its_own(page):
    """So a changed sentence is one changed line, and a review shows what was said before."""
    crowded = [
        line
        for line in FENCED.sub("", _read(page)).splitlines()
        if not line.startswith(("|", "<", "#", "    ", "- **"))
        and re.search(r"[a-z`)][.?!] [A-Z`]", re.sub(r"\*\*", "", line))
    ]

    # The sentence of the architecture is three lines, the first of which has three sentences.
    assert [] == [line for line in crowded if "Policies decide." not in line]


def test_the_glossary_defines_words_that_are_used():
    """A word that only the glossary knows is a second word for something."""
    glossary = DOCS / "reference" / "glossary.md"
    elsewhere = " ".join(_read(page) for page in PAGES if page != glossary)
    elsewhere += " ".join(
        _read(path) for package in PACKAGES for path in Path(package.__file__).parent.rglob("*.py")
    )
    terms = {
        term
        for line in _read(glossary).splitlines()
        if line.startswith("| **")
        for term in re.findall(r"\*\*(\w+)\*\*", line.split("|")[1])
    }

    assert len(terms) > 30
    assert set() == {term for term in terms if term.lower() not in elsewhere.lower()}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_in_the_reference(package):
    """What a user may rely on is what the reference says."""
    reference = " ".join(_read(page) for page in (DOCS / "reference").glob("*.md"))

    assert [] == [name for name in package.__all__ if not re.search(rf"\b{name}\b", reference)]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_room_has_its_line_in_the_architecture(package):
    """A room that is not on the plan is found by accident; one that is gone is looked for in vain."""
    page = _read(DOCS / "explanation" / "architecture.md")
    name = package.__name__
    part = page.partition(f"<!-- generated: rooms of {name} -->")[2].partition("<!-- end -->")[0]
    lines = dict(re.findall(r"^\| `(\S+)` \| (.*) \|$", part, re.MULTILINE))
    folder = Path(package.__file__).parent

    assert sorted(lines) == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    assert "" not in lines.values()


def test_the_architecture_names_only_rooms_that_exist():
    """The change map is followed by people who do not know the house yet."""
    page = _read(DOCS / "explanation" / "architecture.md")
    rooms = {path.as_posix() for package in PACKAGES for path in Path(package.__file__).parent.rglob("*.py")}
    named = set(re.findall(r"`([\w/]+\.py)`", page))

    assert set() == {name for name in named if not any(room.endswith("/" + name) for room in rooms)}


def test_the_invariants_have_the_same_numbers_on_the_page_and_in_the_code():
    """A test that fails with "I7" must lead to the right line."""
    page = _read(DOCS / "explanation" / "invariants.md").partition("## In code")[0]
    lines = dict(re.findall(r"^\| (I\d+) \| (.*)$", page, re.MULTILINE))
    functions = {function.__name__ for function in invariants.INVARIANTS}

    assert [f"I{number}" for number in range(1, 18)] == list(lines)
    for function in functions:
        assert f"`{function}`" in lines[function.partition("_")[0].upper()]
    assert functions == set(re.findall(r"`(i\d+_\w+)`", page))


def test_the_shutdown_page_has_the_phases_of_the_code():
    """The argument is only as good as its steps are the real ones."""
    page = _read(DOCS / "explanation" / "shutdown.md")
    steps = re.findall(r"^\| \d \| `([A-Z]+)`", page, re.MULTILINE)

    assert [phase.name for phase in Phase if phase is not Phase.RUNNING] == steps


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("0*.md")), ids=_name)
def test_a_decision_says_why_and_what_would_change_our_mind(page):
    """A decision without its reasons can only be obeyed or ignored."""
    headings = re.findall(r"^## (.+)$", _read(page), re.MULTILINE)

    assert ["Context", "Decision", "Consequences", "What would change our mind"] == headings
    assert f"# {int(page.name[:4])}. " in _read(page)
