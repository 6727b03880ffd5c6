"""Sweeps in virtual time over recorded curves, without Ray."""
