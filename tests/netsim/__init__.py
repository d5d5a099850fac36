"""Tests of netsim/ and of what it drives."""
