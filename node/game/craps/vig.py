"""The commission of buy and lay bets: 5 % of the bet, or of its win (R22)."""

from math import gcd

from node.game.craps.bets import Kind
from node.game.craps.params import VIG_DOWN, VIG_NEAREST, VIG_PERCENT, CrapsParams
from node.game.craps.pays import LAY_ODDS, TRUE_ODDS
from node.game.rules import BetKey

VIG_KINDS = (Kind.BUY, Kind.LAY)


def win_of(key: BetKey, stake: int) -> int:
    """Return what a buy or lay wins before its vig."""
    return (TRUE_ODDS if key.kind == Kind.BUY else LAY_ODDS)[key.number].profit(stake)


def _base(key: BetKey, stake: int) -> int:
    return stake if key.kind == Kind.BUY else win_of(key, stake)


def vig_due(params: CrapsParams, key: BetKey, stake: int) -> int:
    """Return the vig of a buy or lay in whole chips, by the table's rounding."""
    hundredths = VIG_PERCENT * _base(key, stake)
    if params.vig_rounding == VIG_DOWN:
        chips = hundredths // 100
    elif params.vig_rounding == VIG_NEAREST:
        chips = (hundredths + 50) // 100
    else:
        # Up; and the exact rule, under which only multiples of `exact_vig_unit` are taken.
        chips = -(-hundredths // 100)
    return max(chips, params.vig_minimum)


def exact_vig_unit(key: BetKey, unit: int) -> int:
    """Return the least multiple of `unit` whose vig is a whole number of chips."""
    whole = 100 // VIG_PERCENT
    return unit * (whole // gcd(_base(key, unit), whole))
