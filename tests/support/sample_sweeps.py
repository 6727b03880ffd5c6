"""Sweeps as a study would hand them over, made from a formula and a seed."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from resnest_search.study.answers import class_scores, pack, pack_sheet, unpack
from resnest_search.study.read import judged_anew, placed, with_uncertainty
from resnest_search.study.record import (
    COMPLETE,
    FAILED,
    INFEASIBLE,
    PRUNED,
    RUNNING,
    Epoch,
    Sweep,
    TrialRecord,
)

EPOCHS = 9
RUNGS = (1, 3)


def make_trial(number: int, variant: str, state: str = COMPLETE, **changes) -> TrialRecord:
    """A trial whose numbers follow from its variant, with a little noise from its number."""
    radix, rest = variant.removesuffix("d").split("s")
    cardinality, width = rest.split("x")
    draw = random.Random(number)
    load = int(cardinality) * int(width) / 64
    epochs = {COMPLETE: EPOCHS, PRUNED: RUNGS[number % 2], FAILED: 1, RUNNING: 2}.get(state, 0)
    final = min(0.99, 0.86 + 0.015 * load + 0.008 * int(radix) + draw.gauss(0, 0.006))
    curve = tuple(
        Epoch(e, final * (1 - 0.55 * 0.6**e) + draw.gauss(0, 0.004), 2 / e, 2.1 / e, 0.4)
        for e in range(1, epochs + 1)
    )
    latency = 1.1 + 0.9 * load + 0.45 * int(radix) + 0.1 * int(cardinality)
    record = TrialRecord(
        number=number,
        candidate=f"{number:08x}",
        variant=variant,
        parameters={"radix": int(radix), "cardinality_width": f"{cardinality}x{width}"},
        state=state,
        reason={
            PRUNED: "dominated at the rung by 2s1x16d",
            FAILED: "CUDA out of memory: tried to allocate 2.00 GiB",
            INFEASIBLE: "latency_ms 9.10 is over the limit 8.00",
        }.get(state, ""),
        curve=curve,
        validation_images=500,
        costs={
            "latency_ms": latency,
            "latency_p95_ms": latency * 1.2,
            "images_per_s": 1000 / latency,
            "memory_mib": 8 + 6 * load + 1.7 * int(radix),
            "train_memory_mib": 80 + 60 * load,
            "parameters_m": 0.4 + load * 0.3 + int(radix) * 0.05,
            "gmacs": 0.02 * (1 + load),
        },
        pruned_at=epochs if state == PRUNED else None,
        seed=number,
        device="Intel Xeon, 2 threads",
        mode="eager fp32 batch 1 at 8 px",
        versions={"torch": "2.14.0", "python": "3.11.7"},
        seconds=0.4 * epochs,
    )
    return replace(record, **changes)


def make_sweep(trials: list[TrialRecord], **changes) -> Sweep:
    """The trials as a sweep, with the front worked out over accuracy, latency and memory."""
    done = [t for t in trials if t.state == COMPLETE and t.accuracy is not None]
    marked = [
        replace(t, on_front=t in done and not any(_beats(o, t) for o in done)) for t in trials
    ]
    front = sorted((t for t in marked if t.on_front), key=lambda t: t.costs.get("latency_ms", 0))
    middle = front[len(front) // 2].number if front else None
    sweep = Sweep(
        name="radix_card",
        question="Is it better to spend a latency on radix or on cardinality?",
        folder="runs/radix_card/2026-01-02_03-04-05",
        config={
            "sweep": "radix_card",
            "search": {"epochs": EPOCHS, "seed": 0},
            "data": {"name": "digits", "root": "/home/alice/images"},
        },
        objectives=("accuracy", "latency_ms", "memory_mib"),
        trials=tuple(marked),
        chosen=middle,
        rungs=RUNGS,
        budget=20 * EPOCHS,
        started="2026-01-02T03:04:05+00:00",
        seconds=321.0,
        finished=True,
    )
    return replace(sweep, **changes)


def _beats(one: TrialRecord, other: TrialRecord) -> bool:
    def key(t: TrialRecord) -> tuple[float, float, float]:
        return -t.accuracy, t.costs.get("latency_ms", 0.0), t.costs.get("memory_mib", 0.0)

    return key(one) != key(other) and all(a <= b for a, b in zip(key(one), key(other), strict=True))


def mixed(count: int = 24) -> Sweep:
    """Complete, pruned, failed, running and infeasible trials, radix 0 among them."""
    variants = [f"{r}s{k}x{w}d" for w in (16, 24, 40, 64) for k in (1, 2, 4) for r in (0, 1, 2, 4)]
    states = [COMPLETE, COMPLETE, PRUNED, COMPLETE, PRUNED, COMPLETE, COMPLETE, PRUNED]
    order = random.Random(1).sample(range(count), count)
    trials = [
        make_trial(n, variants[i * 7 % len(variants)], states[n % len(states)])
        for n, i in enumerate(order)
    ]
    trials[3] = make_trial(3, "4s4x64d", FAILED)
    trials[-1] = make_trial(count - 1, "2s2x24d", RUNNING)
    trials.append(make_trial(-1, "4s4x96d", INFEASIBLE))
    return make_sweep(trials)


def doubtful() -> Sweep:
    """A sweep whose front is in doubt: near ties, and candidates with several seeds."""
    plan = [
        ("1s1x40d", 0.930, 1.70),
        ("1s1x64d", 0.962, 1.95),
        ("2s1x40d", 0.960, 1.80),
        ("2s1x64d", 0.965, 2.40),
        ("4s1x64d", 0.970, 3.60),
        ("0s2x40d", 0.940, 1.75),
        ("2s2x40d", 0.955, 2.20),
    ]
    trials = [_trained(n, variant, 0, *rest) for n, (variant, *rest) in enumerate(plan)]
    trials += [_trained(7, "2s1x64d", 1, 0.960, 2.40), _trained(8, "2s1x64d", 2, 0.968, 2.40)]
    trials += [_trained(9, "1s1x64d", 1, 0.956, 1.95), make_trial(10, "4s4x24d", PRUNED)]
    objectives = ("accuracy", "latency_ms", "memory_mib")
    return with_uncertainty(replace(make_sweep(trials), trials=tuple(placed(trials, objectives))))


def unbalanced(sought: str = "balanced_accuracy") -> Sweep:
    """The trials of `doubtful` on classes of 300, 150, 40 and 10 images; one share is sought."""
    truth = np.repeat(np.arange(4), [300, 150, 40, 10])
    trials = []
    for trial in doubtful().trials:
        last = trial.curve[-1]
        found = unpack(last.correct, len(truth))
        if found is not None:
            answers = np.where(found.right, truth, (truth + 1) % 4)
            parts = (truth[found.right], truth, answers)
            scores = class_scores(*(np.bincount(part, minlength=4) for part in parts))
            last = replace(
                last,
                balanced_accuracy=float(scores[0]),
                macro_f1=float(scores[1]),
                sheet=pack_sheet(truth, answers, 4, "a" * 64),
            )
        trials.append(replace(trial, curve=(*trial.curve[:-1], last)))
    objectives = (sought, "latency_ms", "memory_mib")
    return judged_anew(make_sweep(trials, objectives=objectives), trials)


def _trained(number: int, variant: str, seed: int, accuracy: float, latency: float) -> TrialRecord:
    """Complete, with an answer sheet on which most images are as hard for one as for another."""
    draw = random.Random(1000 + number)
    sure = [image < accuracy * 500 for image in range(500)]
    right = [answer if draw.random() < 0.97 else not answer for answer in sure]
    wanted = round(accuracy * 500)
    for image in draw.sample(range(500), 500):
        if sum(right) != wanted and right[image] == (sum(right) > wanted):
            right[image] = not right[image]
    trial = make_trial(number, variant, candidate=f"hash of {variant}", seed=seed)
    last = replace(
        trial.curve[-1],
        accuracy=sum(right) / 500,
        images=500,
        correct=pack(np.array(right), "a" * 64),
    )
    costs = {
        **trial.costs,
        "latency_ms": latency,
        "latency_p95_ms": latency * 1.1,
        "memory_mib": 2 + latency,
    }
    return replace(trial, curve=(*trial.curve[:-1], last), costs=costs, latency_passes=150)


def timed(sweep: Sweep) -> Sweep:
    """With the moments of a sweep that trains one trial after the other, without a break."""
    moment = 0.0
    trials = []
    for trial in sweep.trials:
        curve = []
        for epoch in trial.curve:
            moment += epoch.seconds
            curve.append(replace(epoch, at=moment))
        trials.append(replace(trial, curve=tuple(curve)))
    return replace(sweep, trials=tuple(trials), seconds=moment)
