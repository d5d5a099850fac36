"""Tests of bench/: that it runs, and that its figures have names."""
