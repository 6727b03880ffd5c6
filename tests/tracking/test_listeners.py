import struct
import sys
import time
from dataclasses import replace

import pytest
from command_line import run
from sample_sweeps import make_sweep, make_trial
from tables import rows_of, write
from tensorboardX.proto.event_pb2 import Event

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.errors import UserError
from resnest_search.study.record import PAUSED, RUNNING
from resnest_search.tracking.listeners import Told, found_listeners
from resnest_search.tracking.tensorboard import TensorBoard


def told(folder, *listeners, config=None):
    said = []
    tracking = TrackingConfig("none", listeners=list(listeners))
    return Told(tracking, folder, "group", config or {"sweep": "x"}, said.append), said


def events(folder):
    """What an event file holds: length, its checksum, an event, its checksum, and so on."""
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16


def scalars(folder):
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def plugins(folder):
    return {v.metadata.plugin_data.plugin_name for e in events(folder) for v in e.summary.value}


def part(trial, epochs, state=RUNNING):
    return replace(trial, curve=trial.curve[:epochs], state=state)


def test_tensorboard_has_each_epoch_once_as_it_comes_and_the_end(tmp_path):
    trial = make_trial(3, "2s2x40d")
    made, said = told(tmp_path, "tensorboard")
    place = tmp_path / "tensorboard" / "0003-2s2x40d"
    assert found_listeners(TrackingConfig("tensorboard")) == [TensorBoard]
    for epochs in (0, 1, 2, 2):
        made.trial(part(trial, epochs))
    end = time.monotonic() + 20  # a thread of the writer's own writes
    while (steps := [step for step, _ in scalars(place).get("accuracy", [])]) != [1, 2]:
        assert time.monotonic() < end, steps
        time.sleep(0.1)
    made.trial(part(trial, 3, PAUSED))
    made.trial(part(trial, 4))
    made.trial(trial)
    made.trial(trial)
    made.close(make_sweep([trial]))
    assert said == []
    found = scalars(place)
    expected = [(e.epoch, pytest.approx(e.accuracy)) for e in trial.curve]
    assert found["accuracy"] == expected
    assert [step for step, _ in found["train_loss"]] == list(range(1, 10))
    ((_, latency),) = found["measured/latency_ms"]
    assert latency == pytest.approx(trial.costs["latency_ms"])
    assert "hparams" in plugins(place)


def test_a_resumed_sweep_leaves_no_step_twice(tmp_path):
    trial = make_trial(0, "2s2x40d")
    made, _ = told(tmp_path, "tensorboard")
    made.trial(part(trial, 4))
    made.close(make_sweep([]))
    again, _ = told(tmp_path, "tensorboard")
    again.trial(part(trial, 6))
    again.close(make_sweep([trial]))
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert [step for step, _ in scalars(folder)["accuracy"]] == list(range(1, 10))


OWN = """
from resnest_search.tracking.tensorboard import TensorBoard
from resnest_search.tracking.listeners import Listener


class Noted(Listener):
    def trial(self, record):
        self.note(f"{record.number} {record.state} {record.epochs}")

    def close(self, sweep):
        self.note(f"over {len(sweep.trials)} {self.config['sweep']}")

    def note(self, text):
        with (self.folder / "noted.txt").open("a") as file:
            print(text, file=file)


class Broken(Listener):
    def trial(self, record):
        raise RuntimeError("no luck")


class Stranger:
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_listeners.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own_listeners", None)


def test_a_class_of_ones_own_is_told_and_one_that_fails_costs_a_line(tmp_path, own):
    trial = make_trial(0, "2s2x40d")
    made, said = told(tmp_path, "own_listeners:Noted", "own_listeners:Broken")
    assert made.live
    made.trial(part(trial, 1))
    made.trial(trial)
    made.close(make_sweep([trial]))
    lines = (tmp_path / "noted.txt").read_text().splitlines()
    assert lines == ["0 running 1", "0 complete 9", "over 1 x"]
    assert said == ["Broken is told no more (RuntimeError: no luck); the sweep goes on"]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("tensorbord", "is no Listener"),
        ("own_listeners", "is no Listener"),
        ("own_listeners:Stranger", "is no Listener"),
        ("own_listeners:Nobody", "AttributeError"),
        ("nowhere:Noted", "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_what_is_no_listener_is_refused(own, word, why):
    with pytest.raises(UserError, match=f"^tracking.listeners={word}: {why}.*; valid: tensorboard"):
        found_listeners(TrackingConfig("none", listeners=[word]))


def test_nobody_is_told_where_nobody_listens(tmp_path):
    made, said = told(tmp_path)
    assert not made.live
    made.trial(make_trial(0, "2s2x40d"))
    made.close(make_sweep([]))
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_tells_tensorboard_and_refuses_what_is_none_before_it_begins(tmp_path):
    write(tmp_path / "table.csv", rows_of())
    words = ("sweep=table", "trial.path=table.csv", "run=out")
    refused = run(tmp_path, *words, "tracking.listeners=[nobody]").one_line
    assert "tracking.listeners=nobody: is no Listener" in refused
    assert not (tmp_path / "out").exists()
    done = run(tmp_path, *words, "tracking=tensorboard")
    assert done.code == 0, done
    assert list((tmp_path / "out" / "tensorboard").iterdir())
