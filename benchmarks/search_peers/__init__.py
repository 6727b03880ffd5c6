"""Searches for a Pareto front, raced on tables of recorded curves; see ../search.py.

One file a concern: ``table`` reads curves, ``race`` is the event loop in virtual time and all that
a search may see, ``truth`` is what it is judged by, ``orders``, ``ray_peers``, ``optuna_peers``,
``syne_peers`` and ``own`` are the searches, ``rows`` lists them with their settings, ``results``
sums up, ``page`` and ``plots`` show.
"""
