"""NePS's optimizers behind JSON lines: runs in an environment of its own, see neps_peers.py.

Each line of stdin asks for one thing, each line of stdout answers it:

    {"make": "moasha", "space": {NAME: {"choices": [...]}, ...}, "epochs": 9, "seed": 0}  ->  {}
    {"ask": true}                  ->  {"id": "4_rung_1", "config": {NAME: VALUE}, "epochs": 3}
    {"forget": ID}                 ->  {}    the trial is not trained, and tells nothing
    {"replace": ID, "config": {}}  ->  {}    what is trained is something else
    {"tell": ID, "values": [...]}  ->  {}    all to be minimised
"""

from __future__ import annotations

import json
import logging
import random
import sys
import warnings

import neps
import numpy as np
import torch
from neps.space import HPOCategorical, HPOFloat, HPOInteger, SearchSpace

EPOCHS = "epochs"  # the fidelity
KINDS = {"choices": HPOCategorical, "int": HPOInteger, "float": HPOFloat}


def main():
    """Answer until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever the packages print
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    search = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "make" in asked:
            search, answer = made(asked), {}
        elif "ask" in asked:
            answer = ask(search)
        else:
            answer = told(search, asked)
        print(json.dumps(answer), file=answers, flush=True)


def made(asked):
    """An optimizer with its defaults; they draw from the global generators."""
    random.seed(asked["seed"])
    np.random.seed(asked["seed"])
    torch.manual_seed(asked["seed"])
    space = {name: KINDS[given.pop("kind")](**given) for name, given in asked["space"].items()}
    space[EPOCHS] = HPOInteger(1, asked["epochs"], is_fidelity=True)
    needed = {"prior_centers": {}} if asked["make"] == "primo" else {}
    algorithm = getattr(neps.algorithms, asked["make"])
    return neps.AskAndTell(algorithm(SearchSpace(space), **needed))


def ask(search):
    """A trial. PriMO may take the number of one under way, which then gets a later one."""
    before = dict(search.trials)
    while True:
        try:
            trial = search.ask()
            break
        except AssertionError as error:  # PriMO has no full training to learn from
            if "initial design size" not in str(error):
                raise
            search.optimizer.initial_design_size += 1  # as the message advises
    name = trial.metadata.id
    if name in before:
        search.trials[name] = before[name]
        name = str(1 + max(int(other.split("_")[0]) for other in search.trials))
        trial.metadata.id = name
        search.trials[name] = trial
    config = dict(trial.config)
    return {"id": name, "epochs": config.pop(EPOCHS), "config": config}


def told(search, asked):
    """Whatever needs no answer."""
    if "forget" in asked:
        del search.trials[asked["forget"]]
    elif "replace" in asked:
        trial = search.trials[asked["replace"]]
        trial.config = {**asked["config"], EPOCHS: trial.config[EPOCHS]}
    else:
        search.tell(asked["tell"], {"objective_to_minimize": asked["values"]})
    return {}


if __name__ == "__main__":
    main()
