"""Tests of craps."""
