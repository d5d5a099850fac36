"""Tests of consensus/."""
