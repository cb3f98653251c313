"""``python -m scheduler plugins``: every plug-in in its line, examined, whatever it does."""

import json
import os

import pytest

from scheduler import __main__ as command
from scheduler import _plugin_report as report
from scheduler._plugin_report import Finding, as_json, as_text, every, examined

POLICIES = """
    import attrs

    @attrs.frozen
    class Good:
        patience: float = 60.0
        errors: tuple = attrs.field(default=(OSError,), repr=False)
        inner: object = attrs.field(factory=tuple)

        def retry_after(self, failure, uniform):
            return self.patience

    @attrs.frozen
    class Needy:
        patience: float
        hurry: float = 1.0

        def retry_after(self, failure, uniform):
            return self.patience

    @attrs.frozen
    class Lawless:
        def retry_after(self, failure, uniform):
            return -1.0

    class Angry:
        def __eq__(self, other):
            raise RuntimeError("do not compare me")

        def retry_after(self, failure, uniform):
            return 1.0

    def picky(level=1):
        raise ValueError("never")
"""


def found(name):
    """Return what is found out about the plug-in of a distribution of this name."""
    plugins = every("9.9")
    (plugin,) = (plugin for plugin in plugins if plugin.distribution == name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("policies.testing.ATTEMPTS_MAX", 50)
        return report._examined(plugin, plugins)


EXPECTED = {
    "Good": ("retry", "passes", ""),
    "Needy": ("retry", "needs settings", "needs: patience"),
    "Lawless": ("retry", "fails", "Lawless breaks the law 'sensible': "),
    "Angry": ("retry", "fails", "Angry breaks the law 'equal to itself'"),
    "picky": ("retry", "broken", "made without settings, it raises ValueError: never"),
    "Gone": ("retry", "broken", "AttributeError: module "),
    "Good ": (
        "retri",
        "broken",
        "no plug-in is looked for in two_tier_scheduler.retri; did you mean 'retry'?",
    ),
}


@pytest.mark.parametrize(("target", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_a_plug_in_is_made_and_put_to_its_laws(shelf, target, expected):
    """An author learns from one command whether users will be able to use it."""
    kind, verdict, reason = expected
    shelf.install("offers", f"[two_tier_scheduler.{kind}]\nit = MODULE:{target}", POLICIES, version="1.2")

    finding = found("offers")

    assert (kind, "it", "offers", "1.2", verdict) == (
        finding.kind,
        finding.name,
        finding.distribution,
        finding.version,
        finding.verdict,
    )
    assert finding.reason.startswith(reason)
    assert finding.fine == (verdict in ("passes", "needs settings"))


def test_defaults_are_shown_as_one_would_write_them(shelf):
    """The listing is where somebody who writes a file looks for the keys."""
    shelf.install("offers", "[two_tier_scheduler.retry]\nit = MODULE:Good", POLICIES)

    assert {"patience": "60.0", "errors": "(OSError,)", "inner": "()"} == found("offers").settings


def test_metadata_that_cannot_be_read_gets_a_line(shelf):
    """A plug-in that is silently not there is looked for in vain."""
    shelf.install("half", "[two_tier_scheduler.retry]\nthis is no entry point")

    finding = found("half")

    assert "broken" == finding.verdict
    assert "its entry_points.txt cannot be read" in finding.reason


@pytest.mark.parametrize(
    ("pool", "verdict", "reason"),
    [
        ("def it(slots): return InlinePool(slots)", "passes", "P2, P5, P6, P9 do not apply"),
        ("def it(): return ThreadPool(2)", "passes", ""),
        ("def it(address): return ThreadPool(2)", "needs settings", "needs: address"),
        (
            "class it(InlinePool):\n    def open(self, pool_id, front): raise OSError(pool_id)",
            "fails",
            "OSError: check-1",
        ),
    ],
)
def test_a_pool_is_put_to_its_promises(shelf, pool, verdict, reason):
    """What a policy is to its laws, a pool is to its promises."""
    shelf.install(
        "offers",
        "[two_tier_scheduler.pools]\nit = MODULE:it",
        f"from pools import InlinePool, ThreadPool\n{pool}",
    )

    finding = found("offers")

    assert (verdict, reason) == (finding.verdict, finding.reason)


def test_a_plug_in_whose_name_is_taken_is_told_how_to_be_called(shelf):
    """Its author may not know of ours, and two authors not of each other."""
    taken = "[two_tier_scheduler.retry]\nno-retry = MODULE:Lawless\nmine = MODULE:Lawless"
    shelf.install("offers", taken, POLICIES)
    shelf.install("others", "[two_tier_scheduler.retry]\nMine = MODULE:Lawless", POLICIES)

    plugins = every("9.9")
    notes = {
        (plugin.distribution, plugin.name): report._namesakes(plugin, plugins)
        for plugin in plugins
        if plugin.kind == "retry"
    }

    assert (
        "shares its name with the built-in one: load it as 'offers:no-retry'" == notes["offers", "no-retry"]
    )
    assert "shares its name with others: load it as 'offers:mine'" == notes["offers", "mine"]
    assert "" == notes["two-tier-scheduler", "no-retry"]


def test_all_that_we_ship_is_in_order(untraced, monkeypatch):
    """The command would be the first to say that it is not, on every user's machine."""
    monkeypatch.setattr("policies.testing.ATTEMPTS_MAX", 50)  # tests/contract asks about all of them
    monkeypatch.setattr("policies.testing._MILESTONES", (1, 50))
    ours = [plugin for plugin in every("9.9") if plugin.built_in and plugin.name != "process"]

    findings = examined(ours)

    assert [] == [finding for finding in findings if not finding.fine]
    assert {"ordering", "admission", "routing", "retry", "scaling", "pools"} == {f.kind for f in findings}


@pytest.fixture
def some():
    """Three findings with texts of very different lengths."""
    one = Finding(
        kind="retry",
        name="exponential-backoff",
        distribution="two-tier-scheduler",
        version="9.9",
        settings={"attempts_max": "3", "retry_on": "(Exception,)", "initial": "0.1", "ceiling": "30.0"},
        verdict="passes",
    )
    return [
        one,
        Finding(
            kind="retry",
            name="polite",
            distribution="polite-retries",
            version="1.0",
            settings={"patience": None},
            verdict="needs settings",
            reason="needs: patience",
        ),
        Finding(
            kind="pools",
            name="it",
            distribution="two-tier-scheduler",
            version="9.9",
            settings={},
            verdict="broken",
            reason="no " + "reason " * 30,
        ),
    ]


WIDE = """\
retry
  exponential-backoff  built in            passes          attempts_max=3, retry_on=(Exception,),
                                                           initial=0.1, ceiling=30.0
  polite               polite-retries 1.0  needs settings  patience
                                                           needs: patience

pools
  it                   built in            broken          no reason reason reason"""
NARROW = """\
retry
  exponential-backoff  built in            passes
      attempts_max=3, retry_on=(Exception,), initial=0.1, ceiling=30.0
  polite               polite-retries 1.0  needs settings
      patience
      needs: patience

pools
  it                   built in            broken
      no reason reason"""


@pytest.mark.parametrize(("columns", "expected"), [(100, WIDE), (80, NARROW)])
def test_the_table_is_aligned_and_fits_the_terminal(some, columns, expected):
    """A line that wraps by itself puts an end to every column."""
    text = as_text(some, columns)

    assert text.startswith(expected)
    assert max(map(len, text.splitlines())) <= columns
    assert text.endswith("\n\n3 plug-ins, 1 of them is not in order; built in is two-tier-scheduler 9.9")


def test_the_list_for_programs_has_the_same(some):
    """A build machine reads it, and must not have to take columns apart."""
    (first, second, third) = json.loads(as_json(some))

    assert {"patience": None} == second["settings"]
    assert ("retry", "passes", "9.9") == (first["kind"], first["verdict"], first["version"])
    assert "broken" == third["verdict"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["plugins"], 0, "1 of them is not in order"),
        (["plugins", "--check"], 1, "1 of them is not in order"),
        (["plugins", "--check", "--json"], 1, '"verdict": "broken"'),
        ([], 0, "  pools "),
    ],
)
def test_the_command_fails_only_when_it_is_to_check(some, monkeypatch, capsys, arguments, status, said):
    """A listing is for people; a failed check stops a build."""
    monkeypatch.setattr(command, "examined", lambda _plugins: some)
    monkeypatch.setitem(os.environ, "COLUMNS", "80")

    assert status == command.main(arguments)
    assert said in capsys.readouterr().out


def test_the_check_passes_when_all_is_in_order(some, monkeypatch, capsys):
    """One that always fails would be switched off."""
    monkeypatch.setattr(command, "examined", lambda _plugins: some[:2])

    assert 0 == command.main(["plugins", "--check"])
    assert "2 plug-ins, all in order; built in is" in capsys.readouterr().out
