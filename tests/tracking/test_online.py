"""``tracking=online`` against a server on this machine, each driver a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from sample_sweeps import make_sweep, make_trial
from wandb_server import serving

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.tracking.wandb import Tracker

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
TIMEOUT_S = 60
# A driver that is told by lines what to hand in: an epoch and a state of trial 0, or the end.
_DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from sample_sweeps import make_sweep, make_trial
from resnest_search.configuration.schema import TrackingConfig
from resnest_search.tracking.wandb import Tracker
config = {"train": {"learning_rate": 0.1, "batch_size": 64}, "model": {"depths": [1, 1]}}
config["search"] = {"budget": int(sys.argv[3])}
given = TrackingConfig("online", "nets", "lab", ["a", "b"])
tracker = Tracker(given, sys.argv[2], "tiny/now", config)
trial = make_trial(0, "1s1x16d")
for line in sys.stdin:
    epochs, state = json.loads(line)
    if state == "close":
        tracker.close(make_sweep([trial]))
        break
    tracker.trial(replace(trial, state=state, curve=trial.curve[:epochs]))
    print("taken", flush=True)
"""


@pytest.fixture
def server():
    with serving() as found:
        yield found


def environment(server):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return inherited | server.environment()


class Driver:
    def __init__(self, server, folder, budget):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, str(SUPPORT), str(folder), str(budget)],
            env=environment(server),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def take(self, epochs, state="running"):
        self.tell(epochs, state)
        assert self.process.stdout.readline() == "taken\n"

    def tell(self, epochs, state):
        self.process.stdin.write(json.dumps([epochs, state]) + "\n")
        self.process.stdin.flush()

    def close(self):
        """What it had to say, in lines."""
        out, _ = self.process.communicate(json.dumps([9, "close"]) + "\n", timeout=300)
        assert self.process.returncode == 0, out
        return out.splitlines()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def driver(server, folder, budget=9):
    made = Driver(server, folder, budget)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def until(condition):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps(server, run):
    return [row["_step"] for row in server.rows(run)]


def of_trial(server):
    (run,) = (name for name in server.runs if name.endswith("-t0"))
    return run


def test_epochs_arrive_while_the_trial_trains_and_the_config_is_nested(server, tmp_path):
    with driver(server, tmp_path) as made:
        made.take(0)
        until(lambda: server.runs)  # before there is any epoch
        run = of_trial(server)
        made.take(1)
        until(lambda: steps(server, run) == [1])
        made.take(3)
        until(lambda: steps(server, run) == [1, 2, 3])
        assert run not in server.finished
        made.take(9, "complete")
        assert made.close() == []
    assert server.unknown == []
    assert steps(server, run) == list(range(1, 10))
    assert run in server.finished
    (row,) = server.rows(run)[:1]
    assert {"epoch", "accuracy", "loss", "train_loss", "seconds"} <= row.keys()
    sent = server.runs[run]
    assert (sent["project"], sent["entity"], sent["tags"]) == ("nets", "lab", ["a", "b"])
    assert (sent["groupName"], sent["displayName"]) == ("tiny/now", "1s1x16d")
    config = server.config(run)
    assert config["sweep"]["train"] == {"learning_rate": 0.1, "batch_size": 64}
    assert config["sweep"]["model"] == {"depths": [1, 1]}
    assert run.split("-")[1] == config["candidate"]
    token = json.loads((tmp_path / "wandb" / "written.json").read_text())["sweep"]
    assert all(name.startswith(f"{token}-") for name in server.runs)


def test_after_a_kill_the_same_run_goes_on_without_a_step_twice_or_lost(server, tmp_path):
    with driver(server, tmp_path) as made:
        made.take(2)
        until(lambda: server.history)
        run = of_trial(server)
        until(lambda: steps(server, run) == [1, 2])
        made.take(4)
        made.kill()  # whether W&B has got to send these two nobody knows
    with driver(server, tmp_path, budget=12) as made:
        made.take(4)
        made.take(6)
        made.take(9, "complete")
        assert made.close() == []
    assert of_trial(server) == run
    assert steps(server, run) == list(range(1, 10))
    lines = Counter(line for _, name, line, _ in server.sent if name == run)
    assert set(lines.values()) == {1}
    assert server.config(run)["sweep"]["search"] == {"budget": 12}, "as it was resumed"


def test_a_paused_trial_goes_on_in_its_run(server, tmp_path):
    with driver(server, tmp_path) as made:
        made.take(3, "paused")
        until(lambda: server.finished)
        made.take(3)
        made.take(5)
        made.take(9, "complete")
        assert made.close() == []
    assert steps(server, of_trial(server)) == list(range(1, 10))
    assert len([name for name in server.runs if "-t" in name]) == 1


def test_a_sweep_that_was_told_whole_is_not_told_again(server, tmp_path):
    for _ in range(2):
        with driver(server, tmp_path) as made:
            assert made.close() == []
        told = len(server.runs), len(server.sent)
    assert told == (2, 9 + len(server.rows(next(n for n in server.runs if "-s" in n))))


def test_a_server_that_falls_silent_holds_nothing_up_and_costs_a_line(server, tmp_path):
    with driver(server, tmp_path) as made:
        made.take(1)
        until(lambda: server.history)
        server.silent = True
        begun = time.monotonic()
        for epochs in range(2, 9):
            made.take(epochs)
        made.take(9, "complete")
        assert time.monotonic() - begun < 5, "the driver has waited"
        said = made.close()
        assert time.monotonic() - begun < 120
    (line,) = said
    assert line.startswith("W&B online failed")
    left = {path.name.split("-", 3)[3] for path in tmp_path.glob("wandb/offline-run-*")}
    assert of_trial(server) in left
    assert len(left) == 2, "the summary, too"


def test_runs_that_were_written_offline_are_uploaded_by_wandb_sync(server, tmp_path):
    given = TrackingConfig("offline", "nets", "lab", ["a"])
    config = {"train": {"learning_rate": 0.1}}
    trial = make_trial(0, "1s1x16d")
    Tracker(given, tmp_path, "tiny/now", config).close(make_sweep([trial]))
    folders = sorted(str(path) for path in tmp_path.glob("wandb/offline-run-*"))
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *folders],
        env=environment(server) | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done
    run = of_trial(server)
    assert [row["accuracy"] for row in server.rows(run)] == [e.accuracy for e in trial.curve]
    assert steps(server, run) == list(range(1, 10))
    assert server.config(run)["sweep"] == config
    assert (server.runs[run]["entity"], server.runs[run]["project"]) == ("lab", "nets")
    assert len(server.runs) == 2
