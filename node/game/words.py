"""What words of every game have in common: numbers as people type them."""

AMOUNT_DIGITS_MAX = 16
"""No more than 2**53 - 1 chips exist at a table."""


def no_chips(text: str) -> str:
    """Say that a word is not the chips that a bet ends in."""
    return f"{text!r} is no number of chips (digits alone, 1 or more)"


def whole_number(text: str) -> int | None:
    """Return a number of plain digits, None for anything else."""
    plain = text.isascii() and text.isdigit() and len(text) <= AMOUNT_DIGITS_MAX
    return int(text) if plain else None
