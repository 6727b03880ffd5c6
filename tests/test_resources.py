"""Sharing out a machine: what is promised to the trials is there."""

from __future__ import annotations

import socket

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resnest_search.configuration.schema import ResourcesConfig
from resnest_search.errors import UserError
from resnest_search.execution.driver import cluster
from resnest_search.execution.resources import Allotment, Machine, allot, on_nodes

MACHINES = st.builds(Machine, cpus=st.integers(1, 64), gpus=st.integers(0, 8))
CONFIGS = st.builds(
    ResourcesConfig,
    gpus_per_trial=st.one_of(
        *(st.none(), st.just("auto"), st.integers(0, 9), st.integers(0, 9).map(float)),
        st.sampled_from([0.1, 0.25, 1 / 3, 0.4, 0.5, 0.7]),
    ),
    workers_per_trial=st.one_of(st.none(), st.integers(1, 9)),
    cpus_per_worker=st.integers(1, 16),
)


@given(CONFIGS, MACHINES)
def test_all_trials_at_once_fit_the_machine(config: ResourcesConfig, machine: Machine) -> None:
    refused = None
    try:
        shares = allot(config, machine)
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert refused.startswith("resources.")
        assert "valid: " in refused
        assert "\n" not in refused
        return
    assert shares.slots >= 1
    assert shares.slots * shares.workers * shares.cpus_per_worker <= machine.cpus
    gpus = shares.gpus_per_worker * shares.workers
    assert shares.slots * gpus <= machine.gpus + 1e-9
    if isinstance(config.gpus_per_trial, int | float):
        assert gpus == pytest.approx(config.gpus_per_trial)
    assert shares.accelerator == ("gpu" if gpus else "cpu")
    assert len(shares.bundles) == shares.workers
    assert sum(bundle["CPU"] for bundle in shares.bundles) <= machine.cpus
    assert sum(bundle.get("GPU", 0) for bundle in shares.bundles) == pytest.approx(gpus)


@given(CONFIGS, MACHINES)
def test_no_slot_is_wasted(config: ResourcesConfig, machine: Machine) -> None:
    try:
        shares = allot(config, machine)
    except UserError:
        assume(False)
        return
    more = shares.slots + 1
    gpus = shares.gpus_per_worker * shares.workers
    cpus_are_out = more * shares.workers * shares.cpus_per_worker > machine.cpus
    # A fraction lies on one GPU, so that what is left of several GPUs does not add up.
    places = machine.gpus * int(1 / gpus + 1e-9) if 0 < gpus < 1 else None
    gpus_are_out = bool(gpus) and (more > places if places else more * gpus > machine.gpus)
    assert cpus_are_out or gpus_are_out


def test_the_defaults_take_a_gpu_where_there_is_one() -> None:
    assert allot(ResourcesConfig(), Machine(4, 0)).accelerator == "cpu"
    assert allot(ResourcesConfig(), Machine(4, 0)).slots == 4
    assert allot(ResourcesConfig(), Machine(16, 2)).slots == 2
    assert allot(ResourcesConfig(), Machine(16, 2)).gpus_per_worker == 1


def test_whole_gpus_get_a_worker_each_and_a_fraction_one() -> None:
    assert allot(ResourcesConfig(gpus_per_trial=4), Machine(16, 8)).workers == 4
    half = allot(ResourcesConfig(gpus_per_trial=0.5), Machine(16, 2))
    assert (half.workers, half.slots) == (1, 4)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ResourcesConfig(gpus_per_trial=3), "resources.gpus_per_trial=3: there are 2 GPUs"),
        (ResourcesConfig(gpus_per_trial=1.5), "resources.gpus_per_trial=1.5: valid: a fraction"),
        (ResourcesConfig(gpus_per_trial=-1), "resources.gpus_per_trial=-1"),
        (ResourcesConfig(gpus_per_trial=float("nan")), "resources.gpus_per_trial=nan"),
        (ResourcesConfig(gpus_per_trial=float("inf")), "resources.gpus_per_trial=inf"),
        (ResourcesConfig(gpus_per_trial="all"), "resources.gpus_per_trial=all: valid: a fraction"),
        (ResourcesConfig(workers_per_trial=0), "resources.workers_per_trial=0: valid"),
        (ResourcesConfig(cpus_per_worker=0), "resources.cpus_per_worker=0: valid"),
        (ResourcesConfig(cpus_per_worker=9), "resources.cpus_per_worker=9: 1 workers need 9"),
        (ResourcesConfig(gpus_per_trial=0, workers_per_trial=9), "workers_per_trial=9: there are"),
        (ResourcesConfig(gpus_per_trial=2, workers_per_trial=1), "one worker for each whole GPU"),
        (ResourcesConfig(gpus_per_trial=0.5, workers_per_trial=2), "one worker for each whole"),
    ],
)
def test_what_cannot_fit_is_refused_with_its_key(config: ResourcesConfig, words: str) -> None:
    with pytest.raises(UserError) as caught:
        allot(config, Machine(8, 2))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "nodes", "slots"),
    [
        (1, 2, 0.0, [Machine(3, 0), Machine(3, 0)], 2),  # a CPU of each is left over
        (2, 2, 0.0, [Machine(3, 0), Machine(3, 0)], 1),
        (3, 2, 0.0, [Machine(3, 0), Machine(3, 0)], None),
        (1, 4, 0.0, [Machine(3, 0), Machine(3, 0)], None),
        (1, 1, 0.5, [Machine(8, 0), Machine(2, 1)], 2),  # CPUs beside no GPU are of no use
        (2, 4, 1.0, [Machine(8, 0), Machine(7, 2)], None),
    ],
)
def test_a_worker_lies_on_one_node(
    workers: int, cpus: int, gpus: float, nodes: list[Machine], slots: int | None
) -> None:
    shared = Allotment(workers, cpus, gpus, slots=3)
    if slots is not None:
        assert on_nodes(shared, nodes).slots == slots
        return
    with pytest.raises(UserError, match=rf"resources.cpus_per_worker={cpus}: .* valid: "):
        on_nodes(shared, nodes)


def test_where_nobody_listens_a_cluster_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with (
        pytest.raises(UserError, match=f"^resources.address=127.0.0.1:{port}: no Ray cluster"),
        cluster(ResourcesConfig(address=f"127.0.0.1:{port}"), verbose=False),
    ):
        pass
