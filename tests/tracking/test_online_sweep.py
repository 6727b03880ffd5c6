"""A real sweep with ``tracking=online``, killed and resumed, against a server on this machine."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from command_line import ONE_AT_A_TIME, SMALL, logged, run, started, study, sweep_file
from wandb_server import WandbServer, serving

EPOCHS = 40  # so many that the first ones arrive while a trial is at work
WORDS = (
    "sweep=tiny",
    *(word for word in SMALL if not word.startswith("tracking")),
    ONE_AT_A_TIME,
    "search/sampler=grid",
    f"train.epochs={EPOCHS}",
    "run=out",
    "tracking=online",
    "tracking.entity=lab",
    "tracking.tags=[a,b]",
)


def steps(server: WandbServer) -> dict[int, list[int]]:
    """Steps that W&B has of each trial, by its number."""
    names = [name for name in server.runs if "-t" in name]
    found = {int(name.rpartition("-t")[2]): server.rows(name) for name in names}
    assert len(found) == len(names), "one run for each trial"
    return {number: [row["_step"] for row in rows] for number, rows in found.items()}


@pytest.mark.slow
def test_a_killed_sweep_goes_on_in_its_runs_and_the_winner_is_an_artifact(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["1s1x64d", "2s1x64d"]})
    folder = tmp_path / "out"
    with serving() as server:
        environment = server.environment()
        with started(tmp_path, *WORDS, **environment) as command:
            command.until(lambda: len(logged(folder, "finished").get(0, [])) >= 5)
            workers = command.training()
            for worker in workers:
                worker.suspend()  # W&B may take longer to send two steps than the rest to train
            command.until(lambda: len(steps(server).get(0, [])) >= 2)
            assert len(logged(folder, "finished")[0]) < EPOCHS, "the trial is still at work"
            command.process.kill()
            for worker in workers:
                worker.resume()  # to see that it is alone
        before = steps(server)
        done = run(tmp_path, "resume", "run=out", **environment)
        assert done.code == 0, done
        assert "W&B" not in done.out + done.err
        assert server.unknown == []
        trials = study(folder).trials
        assert steps(server) == {trial.number: list(range(1, EPOCHS + 1)) for trial in trials}
        assert before[0] == list(range(1, len(before[0]) + 1))
        of_trials = [(name, line) for _, name, line, _ in server.sent if "-t" in name]
        assert set(Counter(of_trials).values()) == {1}, "no step is sent twice"
        for name, sent in server.runs.items():
            assert (sent["entity"], sent["tags"]) == ("lab", ["a", "b"])
            assert server.config(name)["sweep"]["train"]["batch_size"] == 32
            assert server.config(name)["sweep"]["train"]["learning_rate"] > 0
        (winner,) = (one for one in server.artifacts.values() if one["artifactTypeName"] == "model")
        facts = json.loads((folder / "best" / "model.json").read_text())
        assert json.loads(winner["metadata"])["trial"] == facts["trial"]
        weights = (folder / "best" / "weights.pt").read_bytes()
        assert weights in server.files.values()
