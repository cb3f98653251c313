"""Policies by name: what is found, what is refused, and how far a broken plug-in reaches."""

import importlib.metadata
import subprocess
import sys

import pytest

import policies
from policies import ExponentialBackoff, Failure, PluginError, installed, load
from policies.plugins import POLICIES
from scheduler import Scheduler
from scheduler._plugins import POOLS

POLITE = """
    import attrs

    @attrs.frozen
    class Polite:
        patience: float = 60.0

        def __attrs_post_init__(self):
            if self.patience < 0:
                raise ValueError("no patience")

        def retry_after(self, failure, uniform):
            return self.patience
"""
OFFERS_POLITE = """
    [two_tier_scheduler.retry]
    polite = MODULE:Polite
"""

#: Each public class that answers one of the questions, with the method it answers by.
OURS = [
    (kind.name, found)
    for kind in POLICIES.kinds.values()
    for found in (getattr(policies, name) for name in policies.__all__)
    if isinstance(found, type) and hasattr(found, kind.method) and not found.__name__.endswith("Policy")
]


@pytest.mark.parametrize(("kind", "policy"), OURS, ids=lambda value: getattr(value, "__name__", value))
def test_every_policy_of_ours_goes_by_its_name_in_any_spelling(kind, policy):
    """A file says peak-ewma, a person writes PeakEwma; and a new policy must need no second list."""
    name = POLICIES.find(policy.__name__, kind).name

    assert name == name.lower()
    for spelling in (name, name.replace("-", "_"), policy.__name__, f"two-tier-scheduler:{name}"):
        assert POLICIES.find(spelling).load() is policy


def test_there_are_policies_of_every_kind():
    """If the search for built-in ones failed, the test above would pass for want of cases."""
    assert {kind for kind, _ in OURS} == set(POLICIES.kinds)
    assert len(OURS) > 20


@pytest.mark.parametrize("name", ["thread", "ThreadPool", "thread-pool", "process", "asyncio", "inline"])
def test_a_pool_goes_by_its_kind(name):
    """In a file that says `pool = {kind = "thread"}` nobody wants to say pool twice."""
    assert POOLS.make(POOLS.find(name), {"slots": 3}).slots == 3


def test_settings_are_handed_on():
    """`load` is for programs whose policies stand in a file."""
    assert ExponentialBackoff(attempts_max=5, retry_on=OSError) == load(
        "exponential-backoff", attempts_max=5, retry_on=OSError
    )


def test_neither_the_import_nor_a_policy_of_ours_looks_at_what_is_installed():
    """Whoever uses no plug-in pays for none: neither time nor the risk of somebody else's mistakes."""
    code = (
        "import sys, scheduler, policies\n"
        "policies.load('aging'); scheduler.Scheduler.from_config({'groups': []}).close()\n"
        "assert 'importlib.metadata' not in sys.modules, 'scanned'\n"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (0, "") == (ran.returncode, ran.stderr)


def test_a_policy_of_another_distribution_is_made_by_its_name(shelf):
    """This is what the entry points are for."""
    shelf.install("polite-retries", OFFERS_POLITE, POLITE)

    policy = load("Polite", kind="retry", patience=7.0)

    assert 7.0 == policy.retry_after(Failure(attempt=1, error=ValueError()), None)
    assert policy == load("polite_retries:polite", patience=7.0)


def test_only_the_plug_in_that_was_asked_for_is_imported(shelf):
    """An import may be slow, or do things; it is for whoever wants its policy."""
    wanted = shelf.install("polite-retries", OFFERS_POLITE, POLITE)
    other = shelf.install("others", "[two_tier_scheduler.retry]\nother = MODULE:Other")

    load("polite")

    assert wanted in sys.modules
    assert other not in sys.modules


def test_a_name_that_nobody_has_is_answered_with_those_that_are_there(shelf):
    """A typing mistake in a file must not cost a search in the documentation."""
    shelf.install("polite-retries", OFFERS_POLITE, POLITE)

    with pytest.raises(
        ValueError,
        match=r"no retry policy 'exponental-backof'; did you mean 'exponential-backoff'\? known are .*no-retry, polite",
    ):
        load("exponental-backof", kind="retry")
    with pytest.raises(
        ValueError, match=r"no retry policy 'aging', but it is the name of an ordering policy"
    ):
        load("aging", kind="retry")
    with pytest.raises(ValueError, match=r"no policy 'other:polite'"):
        load("other:polite")
    with pytest.raises(ValueError, match=r"no kind 'retri' of plug-ins; did you mean 'retry'\?"):
        load("aging", kind="retri")
    with pytest.raises(TypeError, match="must be a string, not 3"):
        load(3)


def test_a_name_that_two_distributions_have_is_never_guessed(shelf):
    """Which of them was meant would depend on the order of installation."""
    shelf.install("polite-retries", OFFERS_POLITE, POLITE)
    shelf.install("Rude.Retries", OFFERS_POLITE, POLITE, version="2.1")

    with pytest.raises(
        ValueError,
        match=r"'polite' is offered by .*Rude.Retries 2.1 .*; write 'polite-retries:polite' or 'rude-retries:polite'",
    ):
        load("polite")
    assert load("polite-retries:polite") != load("rude-retries:polite")


def test_a_name_of_two_kinds_asks_for_the_kind(shelf):
    """A distribution may call all that it has by one name."""
    shelf.install(
        "both",
        "[two_tier_scheduler.retry]\nboth = MODULE:Polite\n[two_tier_scheduler.scaling]\nboth = MODULE:Polite",
        POLITE,
    )

    with pytest.raises(ValueError, match="name of a retry policy and a scaling policy; say which with kind="):
        load("both")
    assert load("both", kind="retry").patience == 60.0


def test_no_distribution_takes_the_name_of_a_policy_of_ours(shelf):
    """Installing something must not change what a program that never names it does."""
    shelf.install("takes-it", "[two_tier_scheduler.retry]\nExponentialBackoff = MODULE:Polite", POLITE)

    assert ExponentialBackoff() == load("exponential-backoff")
    assert load("takes-it:exponential-backoff").patience == 60.0


def test_the_first_distribution_on_the_path_is_the_one_that_counts(shelf, tmp_path, monkeypatch):
    """Its modules are the ones that an import finds; the other is no rival, only hidden."""
    shelf.install("polite-retries", OFFERS_POLITE, "", version="0.1")
    newer = type(shelf)(tmp_path / "before", monkeypatch)
    newer.install("polite_retries", OFFERS_POLITE, POLITE, version="2.0")

    assert load("polite").patience == 60.0


def test_a_setting_that_a_policy_does_not_have_is_named_with_those_it_has(shelf):
    """The error of Python names neither the policy nor what it takes."""
    shelf.install("polite-retries", OFFERS_POLITE, POLITE)
    shelf.install(
        "needy",
        "[two_tier_scheduler.retry]\nneedy = MODULE:needy",
        "def needy(first, *, second=2): return first",
    )

    with pytest.raises(
        TypeError, match=r"retry policy 'polite' has no setting 'patiense'; did you mean 'patience'\?"
    ):
        load("polite", patiense=3)
    with pytest.raises(TypeError, match="'no-retry' has no setting 'delay'; it takes none"):
        load("no-retry", delay=1)
    with pytest.raises(TypeError, match="'needy' needs the setting 'first'; it takes first, second"):
        load("needy", second=3)


def test_a_bad_value_is_refused_in_the_words_of_the_policy(shelf):
    """It knows best what is wrong; we only add whose policy it is."""
    shelf.install("polite-retries", OFFERS_POLITE, POLITE)

    with pytest.raises(ValueError, match=r"Aging\(seconds_per_level=\) must be at least 0, not -1"):
        load("aging", seconds_per_level=-1)
    with pytest.raises(ValueError, match="no patience") as caught:
        load("polite", patience=-1)
    assert ["from the retry policy 'polite' of polite-retries 1.0"] == caught.value.__notes__


BROKEN = {
    "its import raises": (
        "MODULE:Polite",
        "import no_such_module_anywhere",
        "ModuleNotFoundError: .*no_such",
    ),
    "its import is no Python": ("MODULE:Polite", "class", "SyntaxError"),
    "its import ends the program": ("MODULE:Polite", "raise SystemExit(3)", "SystemExit: 3"),
    "the name is not there": ("MODULE:Gone", "", "AttributeError: .*Gone"),
    "no name is given": ("MODULE", "", "names no class; write 'module:Name'"),
    "it cannot be called": ("MODULE:polite", "polite = 3", "neither a class nor a function, but int"),
    "it raises": (
        "MODULE:polite",
        "def polite(): raise RuntimeError('no licence')",
        "RuntimeError: no licence",
    ),
    "it raises without settings": ("MODULE:polite", "def polite(): return int('x')", "ValueError: invalid"),
    "it ends the program": ("MODULE:polite", "def polite(): raise SystemExit", "it raises SystemExit"),
    "it makes something else": ("MODULE:polite", "def polite(): return 3", r"no method retry_after\(\): int"),
    "it makes a class": (
        "MODULE:polite",
        "class P:\n    def retry_after(self, failure, uniform): return 1\ndef polite(): return P",
        r"no method retry_after\(\)",
    ),
}


@pytest.mark.parametrize(("target", "code", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plug_in_is_named_and_harms_nobody_else(shelf, target, code, why):
    """Its user must learn whom to tell; everybody else must not learn of it at all."""
    shelf.install("broken-retries", f"[two_tier_scheduler.retry]\npolite = {target}", code)
    shelf.install("good", "[two_tier_scheduler.retry]\ngood = MODULE:Polite", POLITE)

    with pytest.raises(
        PluginError, match=rf"'polite' of broken-retries 1.0 .* is broken: .*{why}.*uninstall broken-retries"
    ) as caught:
        load("polite")

    assert "broken-retries" == caught.value.distribution
    assert caught.value.entry_point.startswith("two_tier_scheduler.retry: polite = plugin_module_")
    assert load("good").patience == 60.0
    with Scheduler.from_config({"scheduler": {"retry": "good"}, "groups": []}) as scheduler:
        assert 3 == scheduler.submit(len, "abc").result()


def test_metadata_that_cannot_be_read_hides_only_its_own_distribution(shelf):
    """An installation that broke off half-way is everyday life."""
    shelf.install("half", "[two_tier_scheduler.retry]\nthis is no entry point")
    shelf.install("nameless", "[two_tier_scheduler.retry]\nnameless = MODULE:Polite", POLITE, metadata=False)
    shelf.install("good", "[two_tier_scheduler.retry]\ngood = MODULE:Polite [extra]", POLITE)

    assert load("good").patience == 60.0
    assert load("nameless").patience == 60.0


def test_a_distribution_that_raises_when_it_is_looked_at_is_passed_over(shelf, monkeypatch):
    """Finders of all sorts give out distributions; one bad one would hide every plug-in."""

    class Hostile:
        def read_text(self, name):
            raise PermissionError(name)

    class Headless:
        def read_text(self, name):
            return "[two_tier_scheduler.retry]"

        @property
        def metadata(self):
            raise FileNotFoundError

        @property
        def entry_points(self):
            raise UnsayableError

    class UnsayableError(Exception):
        def __str__(self):
            raise OSError("no text")

    shelf.install("good", "[two_tier_scheduler.retry]\ngood = MODULE:Polite", POLITE)
    there = list(importlib.metadata.distributions())
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Hostile(), Headless(), *there])

    assert load("good").patience == 60.0
    (headless,) = (plugin for plugin in installed.scan() if plugin.trouble)
    assert "its entry_points.txt cannot be read: UnsayableError" == headless.trouble


def test_the_known_names_are_all_such_as_can_be_asked_for(shelf):
    """A list that offers a name which is then refused as ambiguous would send its reader in a circle."""
    shelf.install("polite-retries", OFFERS_POLITE, POLITE)
    shelf.install("rude-retries", OFFERS_POLITE, POLITE)

    names = POLICIES.names("retry")

    assert {"no-retry", "polite-retries:polite", "rude-retries:polite"} <= set(names)
    assert all(POLICIES.find(name, "retry") for name in names)
