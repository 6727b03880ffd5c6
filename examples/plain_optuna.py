"""Prune a plain Optuna study with several objectives: accuracy is trained, costs are known.

python examples/plain_optuna.py
"""

import math

import optuna

from resnest_search.search.pruners import ParetoHalvingPruner
from resnest_search.search.pruners.plain import TolerantSampler, report, should_prune

EPOCHS = 9


def train(trial: optuna.Trial) -> tuple[float, float]:
    """A network of some width, whose training is a formula here."""
    width = trial.suggest_int("width", 8, 128, log=True)
    rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
    latency = 0.5 + width / 50
    trial.set_user_attr("latency_ms", latency)  # known before the first epoch
    for epoch in range(1, EPOCHS + 1):
        accuracy = (1 - 2 / width) * math.exp(-((math.log10(rate) + 1) ** 2)) * epoch / (epoch + 1)
        report(trial, accuracy, epoch)
        if should_prune(pruner, study, trial):
            raise optuna.TrialPruned(f"at epoch {epoch}")
    return accuracy, latency


optuna.logging.set_verbosity(optuna.logging.WARNING)
pruner = ParetoHalvingPruner(first_rung=1, reduction_factor=3, epochs=EPOCHS)
sampler = TolerantSampler(optuna.samplers.TPESampler(seed=0))
study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
study.set_metric_names(["accuracy", "latency_ms"])
study.optimize(train, n_trials=40)

pruned = [t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
print(f"{len(pruned)} of {len(study.trials)} trials pruned; the front of the others:")
for best in sorted(study.best_trials, key=lambda t: t.values[1]):
    print("accuracy {:.3f}, {:.2f} ms".format(*best.values), best.params)
