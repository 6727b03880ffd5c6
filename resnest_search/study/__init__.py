"""The state of a sweep: the study, its storage, what is read of it. The one place that keeps any.

``record`` needs the standard library alone, so that workers and the report can have it without
Optuna; the rest is imported by name.
"""
