"""Sic bo: three dice, and bets on what the next roll shows."""
