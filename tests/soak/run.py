"""`make soak`: plays one in a process of its own, plagues it, watches it from outside, and judges what it wrote.

    python tests/soak/run.py [--minutes 10] [--seed N] [--pace 1.0] [--out .build/soak]

Exit code 0 when nothing is to be complained about, 1 else. In the folder stand the history, the samples, the log
of the process, `report.json` and `soak.svg`. Linux only: it counts on /proc and on signals.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import flat  # noqa: E402
import plot  # noqa: E402
from checker import BOUND  # noqa: E402
from history import FOLDER, now  # noqa: E402
from nemesis import Nemesis  # noqa: E402

#: Has the C library give large blocks back as soon as they are freed. By itself it keeps them for every thread that
#: ever had one: with jobs that take megabytes, resident memory then tells more of that than of what is alive.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "2"}
#: Seconds beyond its time after which a soak counts as hanging.
PATIENCE = 150.0
#: Seconds after closing in which threads that hang on purpose end, and workers are buried.
COOL_DOWN = 12.0


class Soak:
    """One run. Threads: one samples, one is the nemesis, the caller waits for words from the process."""

    def __init__(self, folder, seconds, seed, pace, bound):
        self.folder, self.seconds, self.seed, self.pace, self.bound = folder, seconds, seed, pace, bound
        self.samples = []
        self.before = self.after = self.open_after = None
        self.wrong = []
        self._enough = threading.Event()

    def play(self):
        """Play it to the end."""
        shutil.rmtree(self.folder, ignore_errors=True)
        history = self.folder / "history"
        history.mkdir(parents=True)
        os.environ[FOLDER] = str(history)  # of the nemesis
        command = [sys.executable, str(HERE / "play.py"), history, self.seconds, self.seed, self.pace]
        environment = {**os.environ, **MALLOC, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
        with (self.folder / "process.log").open("wb") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                start_new_session=True,
            )
            try:
                self._watch(process)
            finally:
                self._end(process)

    def _watch(self, process):
        alarm = threading.Timer(self.seconds + PATIENCE, self._hangs, [process])
        alarm.daemon = True
        alarm.start()
        try:
            self._hear(process, "ready")
            self.before = self._settled_sample(process.pid)
            self._say(process)
            self._hear(process, "busy")
            nemesis = Nemesis(process.pid, self.seed, now() + self.seconds)
            sampler = threading.Thread(target=self._sample, args=(process.pid,), daemon=True)
            nemesis.start()
            sampler.start()
            self._hear(process, "calm")
            self._enough.set()
            sampler.join()
            nemesis.join()
            if nemesis.error is not None:
                self.wrong.append(f"the nemesis raised {nemesis.error!r}")
            self._hear(process, "closed")
            self.after = self._settled_sample(process.pid)
            self.open_after = flat.kinds_of_files(process.pid)
            self._say(process)
            process.wait(30)
        except (EOFError, OSError, subprocess.TimeoutExpired) as error:
            self.wrong.append(f"the process did not come to its end: {error!r}, exit code {process.poll()}")
        finally:
            self._enough.set()
            alarm.cancel()

    def _hear(self, process, word):
        said = process.stdout.readline().strip()
        if said != word:
            raise EOFError(f"it said {said!r} and not {word!r}")

    @staticmethod
    def _say(process):
        process.stdin.write("go on\n")
        process.stdin.flush()

    def _sample(self, pid):
        every = 1.0 if self.seconds >= 30 else 0.2
        with contextlib.suppress(OSError):
            while not self._enough.wait(every):
                self.samples.append(flat.sample(pid, now()))

    def _settled_sample(self, pid):
        """Return a sample once nothing has become less for a second; what hangs on purpose ends within seconds."""
        until, best = now() + COOL_DOWN, flat.sample(pid, now())
        quiet = now()
        while now() < until and now() - quiet < (0.3 if self.before is None else 4.0):
            time.sleep(0.1)
            fresh = flat.sample(pid, now())
            if fresh[1:4] != best[1:4]:
                quiet = now()
            best = fresh
            if self.before is not None and not flat.not_back(self.before, best):
                break
        return best

    def _hangs(self, process):
        self.wrong.append("it hangs; the stacks of all threads are in process.log")
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGUSR1)
            time.sleep(1.0)
            process.kill()

    def _end(self, process):
        for pid in [*flat.children_of(process.pid), process.pid]:
            if process.poll() is None or pid != process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def judge(self):
        """Return the report: numbers, and every complaint."""
        ran = subprocess.run(
            [sys.executable, str(HERE / "checker.py"), str(self.folder / "history"), str(self.bound)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not ran.stdout:
            return {"complaints": {"checker": [ran.stderr[-2000:]], "run": self.wrong}}
        report = json.loads(ran.stdout)
        complaints = report["complaints"]
        if self.wrong:
            complaints["run"] = self.wrong
        if grown := flat.not_flat(self.samples):
            complaints["flat"] = grown
        if self.after is not None and (left := flat.not_back(self.before, self.after)):
            complaints["back"] = left
        report["flat"] = {
            g.what: {"grown": round(g.grown, 2), "median": round(g.median, 1), "allowed": round(g.allowed, 1)}
            for g in flat.growths(self.samples)
        }
        report["before"], report["after"] = (each and each._asdict() for each in (self.before, self.after))
        report["files after, by kind"] = self.open_after
        report["run"] = {"seconds": self.seconds, "seed": self.seed, "pace": self.pace}
        return report


def faults_of(folder):
    """Return (moment, what) of the faults in a history."""
    from history import read  # noqa: PLC0415

    return [(record.at, record.whose) for record in read(folder)[0] if record.letter == "F"]


def soak(folder, seconds, seed, pace, bound=BOUND):
    """Play, judge, write down; return the report. `bound` is the checker's, for machines that are too busy for it."""
    one = Soak(folder, seconds, seed, pace, bound)
    one.play()
    report = one.judge()
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    with (folder / "samples.tsv").open("w", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, sample)) + "\n" for sample in one.samples)
    if one.samples:
        svg = plot.drawn(one.samples, faults_of(folder / "history"), one.samples[0].at)
        (folder / "soak.svg").write_text(svg, encoding="utf-8")
    return report


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--pace", type=float, default=1.0, help="times the usual number of jobs a second")
    parser.add_argument("--out", type=Path, default=ROOT / ".build" / "soak")
    parser.add_argument(
        "--tracemalloc", action="store_true", help="have process.log say where memory grows; slow"
    )
    arguments = parser.parse_args()
    if arguments.tracemalloc:
        os.environ["SOAK_TRACEMALLOC"] = "1"
    if not Path("/proc/self/statm").exists():
        print("skipped: a soak counts on /proc, which only Linux has")
        return 0
    report = soak(arguments.out, arguments.minutes * 60, arguments.seed, arguments.pace)
    print(json.dumps({**report, "complaints": None}, indent=1))
    for rule, sentences in report["complaints"].items():
        print(f"{rule}: {len(sentences)}")
        for sentence in sentences[:10]:
            print(f"  {sentence}")
    if not report.get("flat"):
        print(f"whether it stays flat was not judged: that takes {2 * flat.SAMPLES_MIN} s and more")
    print(f"seed {arguments.seed}: {'complaints' if report['complaints'] else 'nothing to complain about'}")
    return 1 if report["complaints"] else 0


if __name__ == "__main__":
    sys.exit(main())
