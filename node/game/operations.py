"""The operations of a player: the wire form of everything a click can mean (PROTOCOL 11)."""

from typing import Annotated, TypeAlias

import msgspec

from consensus.encoding import Record

Session = Annotated[int, msgspec.Meta(ge=0, le=1023)]
Kind = Annotated[int, msgspec.Meta(ge=0, le=255)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class CreateSession(Record, frozen=True, tag=1):
    """Open a new session of the game with this registry number."""

    game: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Sit(Record, frozen=True, tag=2):
    """Take the lowest free seat of a session."""

    session: Session


class Leave(Record, frozen=True, tag=3):
    """Leave: contract bets ride, the rest comes back to the rack (R30)."""

    session: Session


class PlaceBet(Record, frozen=True, tag=4):
    """Put `amount` chips more on a bet."""

    session: Session
    kind: Kind
    number: Kind
    amount: Amount


class Reduce(Record, frozen=True, tag=5):
    """Take `amount` chips off a bet that allows it (R23)."""

    session: Session
    kind: Kind
    number: Kind
    amount: Amount


class TakeDown(Record, frozen=True, tag=6):
    """Take a whole bet down."""

    session: Session
    kind: Kind
    number: Kind


class Working(Record, frozen=True, tag=7):
    """Call a bet on (1), off (2), or as the rules say (0)."""

    session: Session
    kind: Kind
    number: Kind
    working: Annotated[int, msgspec.Meta(ge=0, le=2)]


class Ready(Record, frozen=True, tag=8):
    """Say that this seat has no more bets before the roll."""

    session: Session


class Roll(Record, frozen=True, tag=9):
    """The thrower throws: closes the betting (R7)."""

    session: Session


class PassDice(Record, frozen=True, tag=10):
    """The thrower passes the dice, when the game lets it (R5)."""

    session: Session


class Tick(Record, frozen=True, tag=11):
    """Say that an agreed time has come; the state decides whether a timer fires."""

    session: Session


class Finish(Record, frozen=True, tag=12):
    """End an empty session: nobody seated, nothing on the layout."""

    session: Session


class Fund(Record, frozen=True, tag=13):
    """Put chips of the rack into the pool that pays the winners, where the players own one."""

    amount: Amount


class Withdraw(Record, frozen=True, tag=14):
    """Take chips out of the own part of the pool."""

    amount: Amount


Operation: TypeAlias = (
    CreateSession
    | Sit
    | Leave
    | PlaceBet
    | Reduce
    | TakeDown
    | Working
    | Ready
    | Roll
    | PassDice
    | Tick
    | Finish
    | Fund
    | Withdraw
)
