"""Craps: its bets, pays, board, dice and words, as one `GameRules` (rules R1 to R31)."""
