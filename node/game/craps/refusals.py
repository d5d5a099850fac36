"""Why craps refuses a bet: the codes on the wire, and the sentence of each for a player."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from node.game.craps.words import bet_name
from node.game.rules import BetKey, Refusal


class Code(IntEnum):
    """The game's own refusals; the values of each are named in its sentence below."""

    NO_SUCH_BET = 100
    NOT_TAKEN = 101
    NOT_POSITIVE = 102
    NEEDS_PUCK_OFF = 103
    NEEDS_PUCK_ON = 104
    NEEDS_NEW_HAND = 105
    NEEDS_SEVEN = 106
    MOVES_BY_ITSELF = 107
    NO_FLAT_BET = 108
    UNDER_LIMIT = 109
    OVER_LIMIT = 110
    NOT_EXACT = 111
    OVER_ODDS_LIMIT = 112
    VIG_OVER_WIN = 113
    NO_BET = 114
    CONTRACT = 115
    MORE_THAN_UP = 116
    ODDS_TOO_MUCH = 117
    NOT_CALLABLE = 118
    NO_SUCH_CALL = 119


_SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        Code.NO_SUCH_BET: "craps has no bet {0}/{1}",
        Code.NOT_TAKEN: "{bet} is not taken at this table",
        Code.NOT_POSITIVE: "{chips} on {bet}: the least is 1",
        Code.NEEDS_PUCK_OFF: "{bet} is made on the come-out; the puck is on {2}",
        Code.NEEDS_PUCK_ON: "{bet} needs a point; the puck is off",
        Code.NEEDS_NEW_HAND: "{bet} is made before a new shooter's first roll",
        Code.NEEDS_SEVEN: "{bet} is made right after a seven, before the next roll",
        Code.MOVES_BY_ITSELF: "{bet} is where a bet in the box moves; it is not made directly",
        Code.NO_FLAT_BET: "{bet} needs its flat bet, with a number",
        Code.UNDER_LIMIT: "{chips} on {bet}: the least is {3}",
        Code.OVER_LIMIT: "{chips} on {bet}: the most is {3}",
        Code.NOT_EXACT: "{chips} on {bet} will not pay in whole chips; try {choice}",
        Code.OVER_ODDS_LIMIT: "{chips} on {bet}: behind this flat bet the most is {3}",
        Code.VIG_OVER_WIN: "{chips} on {bet} win {3}, which is less than the vig of {4}",
        Code.NO_BET: "there is no bet on {bet}",
        Code.CONTRACT: "{bet} stays up until it is decided",
        Code.MORE_THAN_UP: "{chips} off {bet}: it has {3}",
        Code.ODDS_TOO_MUCH: "{chips} left on {bet} do not carry its odds of {3}: take those first",
        Code.NOT_CALLABLE: "{bet} cannot be called on or off",
        Code.NO_SUCH_CALL: "call {0} is none of 0 (as the rules say), 1 (on), 2 (off)",
    }
)


def describe(refusal: Refusal) -> str:
    """Return the sentence of a refusal with one of this module's codes."""
    code, values = Code(refusal.code), refusal.values
    words: dict[str, str] = {}
    if code not in {Code.NO_SUCH_BET, Code.NO_SUCH_CALL}:
        words["bet"] = bet_name(BetKey(*values[:2]))
    if len(values) > 2:
        words["chips"] = "1 chip" if values[2] == 1 else f"{values[2]} chips"
    if code == Code.NOT_EXACT:
        below, above = values[3:]
        words["choice"] = f"{below} or {above}" if below else str(above)
    return _SENTENCES[code].format(*values, **words)
