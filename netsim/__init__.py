"""Deterministic simulation of networks of peers from one seed."""
