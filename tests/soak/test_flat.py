"""A leak is caught, and noise is not taken for one."""

import random
import threading
import time
from pathlib import Path

import flat
import plot
import pytest
from flat import Sample

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux has /proc")


def samples(count=600, *, noise=2.0, **leaks):
    """Return a sample a second: steady but for noise, rising steps at first, and what leaks by so much a second."""
    dice = random.Random(7)
    held = {"threads": 30, "children": 8, "files": 90, "memory": 200.0}
    return [
        Sample(
            float(second),
            *(
                round(
                    what * min(1.0, 0.5 + second / 200) + dice.gauss(0, noise) + leaks.get(name, 0.0) * second
                )
                for name, what in held.items()
            ),
        )
        for second in range(count)
    ]


def test_noise_and_a_warm_up_are_no_leak():
    """A rule that cries wolf is switched off within a week."""
    assert [] == flat.not_flat(samples())


@pytest.mark.parametrize(
    ("what", "a_second"), [("threads", 0.03), ("children", 0.02), ("files", 0.05), ("memory", 0.06)]
)
def test_a_small_leak_is_caught(what, a_second):
    """One descriptor lost in twenty seconds ends a service within a day."""
    (complaint,) = flat.not_flat(samples(**{what: a_second}))

    assert complaint.startswith(f"{what} grew by")


def test_pools_that_come_and_go_are_no_leak():
    """Scaling opens descriptors by the dozen, for half a minute or two, and more often towards the end by chance."""
    steady = samples(noise=0.0)
    busy = [
        each._replace(files=each.files + 22, children=each.children + 2)
        if each.at % 60 > 30 - each.at / 30
        else each
        for each in steady
    ]

    assert [] == flat.not_flat(busy)


def test_a_pool_that_stays_is_no_leak_of_files_and_what_leaks_beside_it_is():
    """The group has one pool more at last: whether its processes are too many is asked of them, not of their files."""

    def complaints(samples):
        grown = [
            each._replace(files=each.files + 22, children=each.children + 2) if each.at > 420 else each
            for each in samples
        ]
        return [growth.what for growth in flat.growths(grown) if growth.what == "files" and not growth.flat]

    assert [] == complaints(samples(noise=0.0))
    assert ["files"] == complaints(samples(noise=0.0, files=0.05))


def test_outliers_do_not_move_the_slope():
    """A burst at the wrong moment is a fact of life; least squares would take it for a trend."""
    line = [(float(x), 5.0) for x in range(100)]
    line[90:] = [(x, 500.0) for x, _ in line[90:]]

    assert 0.0 == flat.theil_sen(line)


def test_too_few_samples_say_nothing():
    """A soak of seconds has no second half worth judging; what comes back after closing is judged all the same."""
    assert [] == flat.not_flat(samples(30, files=9.0))


def test_what_does_not_come_back_after_closing_is_named():
    """A leak of one is invisible in a slope."""
    before = Sample(0.0, 1, 2, 6, 30.0)

    assert [] == flat.not_back(before, before._replace(memory=300.0))
    assert ["files were 6 before, and 7 after closing"] == flat.not_back(before, before._replace(files=7))


@needs_proc
def test_a_sample_counts_threads_and_files():
    """The numbers are the kernel's: what the process believes of itself does not matter."""
    pid = int(Path("/proc/self").readlink().name)
    before, leave = flat.sample(pid, 0.0), threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    with Path(__file__).open(encoding="utf-8"):
        after = flat.sample(pid, 1.0)
    leave.set()
    thread.join()

    assert (before.threads + 1, before.files + 1) == (after.threads, after.files)
    assert after.memory > 1


def test_the_plot_shows_all_panels_and_stays_small():
    """It stands in the docs, where a reader looks at it before believing the numbers."""
    began = time.monotonic()
    drawing = plot.drawn(samples(), [(100.0, "kill worker"), (200.0, "cancel")], 0.0)

    assert 4 == drawing.count('class="line"')
    assert 1 == drawing.count('class="fault"')
    assert len(drawing) < 60_000
    assert time.monotonic() - began < 5
