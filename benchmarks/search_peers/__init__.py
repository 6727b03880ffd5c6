"""Searches for a Pareto front, raced on tables of recorded curves; see ../search.py.

``table`` reads curves; ``race`` is the event loop in virtual time and all that a search may see;
``truth`` is what it is judged by. The searches: ``orders``, ``sampled`` (a sampler and a stopper
made one), ``ray_peers``, ``optuna_peers``, ``syne_peers``, and ``own``, this project's. ``rows``
lists them with their settings, ``running`` and ``pool`` run them, ``results`` sums up, ``page`` and
``plots`` show.
"""
