"""A sweep on two Ray nodes, of which one is lost."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import ROOT, SMALL, logged, rows, started, study, sweep_file, trains
from optuna.trial import TrialState
from ray.cluster_utils import Cluster

EPOCHS = 8
VARIANTS = ["0s1x64d", "1s1x64d", "2s1x64d", "4s1x64d"]
# A node that does not answer counts as lost after a second and a half, not fifteen.
IMPATIENT = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 1024 * 1024}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes of one CPU each, as processes of this machine; the first is the head."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}")  # what is installed on every node of a real one
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_enable_worker_prestart", "0")  # as in a Ray that a sweep starts
    monkeypatch.setenv("RAY_prestart_worker_first_driver", "0")
    nodes = Cluster(
        initialize_head=True,
        head_node_args={**NODE, "_system_config": IMPATIENT, "include_dashboard": False},
    )
    try:
        nodes.add_node(**NODE)
        nodes.wait_for_nodes()
        yield nodes
    finally:
        nodes.shutdown()


def raylet_of(node: Any) -> psutil.Process:
    """The process under which all workers of a node run."""
    (info,) = node.all_processes["raylet"]
    return psutil.Process(info.process.pid)


def at_work(node: Any) -> bool:
    """Whether a trial runs on a node."""
    return any(map(trains, raylet_of(node).children(recursive=True)))


def lose(node: Any) -> None:
    """What a power cut does: everything on the node is gone at once."""
    raylet = raylet_of(node)
    for process in [raylet, *raylet.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_trials_of_a_lost_node_go_on_elsewhere_and_nothing_is_lost(
    tmp_path: Path, cluster: Cluster
) -> None:
    sweep_file(tmp_path, {"variant": VARIANTS})
    folder = tmp_path / "out"
    (lost,) = cluster.worker_nodes
    words = ("search/sampler=grid", "search/pruner=none", f"train.epochs={EPOCHS}", "run=out")
    words += ("data.train_images=512",)  # of fewer, one node does them all before the other begins
    address = f"resources.address={cluster.address}"

    def both_have_trained() -> bool:
        # Two that have begun and are not through are one on each node, however late the second
        # node's process came.
        done = [max(e, default=0) for e in logged(folder, "finished").values()]
        return sum(2 <= epoch < EPOCHS for epoch in done) == 2 and at_work(lost)

    # A Ray that was started in this process before has the nodes ask for its token.
    token = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    with started(tmp_path, "sweep=tiny", *SMALL, address, *words, **token) as command:
        command.until(both_have_trained)
        lose(lost)
        done = command.wait()
    assert done.code == 0, done
    assert "kept for no later sweep" in done.out
    assert "its worker was lost" in done.out
    assert "continues after epoch" in done.out
    trials = study(folder).trials
    assert sorted(t.params["variant"] for t in trials) == VARIANTS
    assert [t.state for t in trials] == [TrialState.COMPLETE] * len(VARIANTS)
    for trial in trials:
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
        assert [e["epoch"] for e in trial.user_attrs["curve"]] == list(range(1, EPOCHS + 1))
    for epochs in logged(folder, "finished").values():
        assert epochs == list(range(1, EPOCHS + 1))
    begun = logged(folder, "started").values()
    again = sum((Counter(e) - Counter(set(e)) for e in begun), Counter())
    assert again.total() <= 1  # the epoch that the lost node was at
    assert len(rows(folder / "trials.csv")) == len(VARIANTS)
    assert (folder / "best" / "weights.pt").is_file()


def test_a_cluster_without_gpus_refuses_their_precisions(tmp_path: Path, cluster: Cluster) -> None:
    sweep_file(tmp_path, {"variant": VARIANTS})
    address = f"resources.address={cluster.address}"
    words = ("sweep=tiny", *SMALL, address, "train.precision=tf32", "run=out")
    token = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    with started(tmp_path, *words, **token) as command:
        said = command.wait().one_line
    assert "train.precision=tf32: a CPU would train in fp32; valid: fp32, bf16" in said
    assert not (tmp_path / "out").exists()
