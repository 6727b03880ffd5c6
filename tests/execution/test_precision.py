"""Precisions of which a CPU has none, where what trains is known only once a cluster answers."""

from __future__ import annotations

import pytest

from resnest_search.configuration.schema import SearchConfig, SweepConfig, TrainConfig
from resnest_search.errors import UserError
from resnest_search.execution import resources
from resnest_search.execution.prepare import check_trained_on
from resnest_search.execution.resources import mixed_precision
from resnest_search.space import Space


def of(space: dict[str, list[str]], precision: str = "fp32") -> tuple[SweepConfig, Space]:
    search = SearchConfig(space={"variant": ["1s1x64d"], **space})
    config = SweepConfig(search=search, train=TrainConfig(precision=precision))
    return config, Space(config.search.space, config.model)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_cluster_without_gpus_refuses_what_one_machine_refuses(precision: str) -> None:
    with pytest.raises(UserError, match=f"^train.precision={precision}: a CPU would train in"):
        check_trained_on(*of({}, precision), has_gpu=False)
    check_trained_on(*of({}, precision), has_gpu=True)
    varied = of({"train.precision": ["fp32", precision]})
    with pytest.raises(UserError, match=f"^search.space.train.precision={precision}: a CPU"):
        check_trained_on(*varied, has_gpu=False)
    check_trained_on(*varied, has_gpu=True)
    # What the space does not vary is named by itself.
    with pytest.raises(UserError, match=f"^train.precision={precision}: "):
        check_trained_on(*of({"train.momentum": [0.8, 0.9]}, precision), has_gpu=False)
    check_trained_on(*of({"train.momentum": [0.8, 0.9]}), has_gpu=False)


def test_without_a_driver_what_a_gpu_is_fastest_in_is_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(resources, "_built_for", lambda: "cuda")
    monkeypatch.setattr(resources.ctypes, "CDLL", missing)
    assert mixed_precision("gpu") == "fp32"
