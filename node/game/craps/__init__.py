"""The rules of craps."""
