"""What became of operations and rolls: codes, values, and the one sentence for a player.

A receipt is small because a block holds thousands; the sentence is made where somebody reads it.
Codes from 100 on belong to the game, whose rules make their sentences.
"""

import enum
from collections.abc import Mapping
from typing import final

from consensus.encoding import Record
from node.game.rules import GameRules, Refusal

GAME_CODES = 100
"""The first code that belongs to the rules of the game."""


class Code(enum.IntEnum):
    """Why an operation changed nothing. Numbers are on the wire and never reused."""

    DONE = 0
    STRANGER = 1
    UNKNOWN_OPERATION = 2
    BLOCK_FULL = 3
    OPERATIONS = 4
    NO_GAME = 5
    SESSIONS = 6
    SESSIONS_OF_PLAYER = 7
    NO_SESSION = 8
    SEATED = 9
    NOT_SEATED = 10
    NO_MORE_BETS = 11
    AMOUNT = 12
    RACK = 13
    BANK = 14
    BETS = 15
    NO_BET = 16
    STAKE = 17
    WORKING = 18
    NOT_THROWER = 19
    NOBODY_THROWS = 20
    TOO_EARLY = 21
    NO_DICE = 22
    NOTHING_LIES = 23
    ROLL_CALLED = 24
    OWN_ROLL = 25
    HAND_GOES_ON = 26
    NOBODY_ELSE = 27
    NOT_DUE = 28
    NOT_EMPTY = 29
    NOT_IDLE = 30
    BANKER = 31
    NO_POOL = 32
    POOL_PART = 33
    NO_TIMER = 34
    POOL_PROMISED = 35
    POOL_WAITS = 36
    CHEATED = 60
    LAST_VOTER = 61
    KEYS_OF_EPOCH = 62
    KEYS_IN_USE = 63
    NO_VOTE = 64
    TABLE_FULL = 65
    NEWCOMER_KNOWN = 66
    APPROVED_ALREADY = 67
    CLOSED_TABLE = 69
    JOIN_INVALID = 70
    HAS_LEFT = 71
    VOTERS_CHANGE = 72
    STILL_SEATED = 73
    OWN_LOSS = 90
    """From here on never in a block: a player's own node refused."""
    OWN_TIME = 91
    OTHER_DEVICE = 92


@final
class Receipt(Record, frozen=True):
    """What became of one operation. Code 0 is done; `values` are named by `describe`."""

    code: int
    values: tuple[int, ...] = ()


class BetResult(Record, frozen=True):
    """What a roll did to one bet.

    `returned` went to the rack (the win less `rake` is in it), `profit` came from the bank, `lost`,
    `vig` and `rake` went to the bank; `left` and `left_vig` stay under the new kind and number.
    """

    player: int
    kind: int
    number: int
    lost: int
    profit: int
    vig: int
    rake: int
    returned: int
    new_kind: int
    new_number: int
    left: int
    left_vig: int


class ReturnedBet(Record, frozen=True):
    """A bet that went back to its player because the bank could no longer cover it."""

    session: int
    player: int
    kind: int
    number: int
    chips: int


class Posting(Record, frozen=True):
    """Chips from one account of the treasury to another: `treasury.BANK`, `LAYOUT`, racks."""

    debit: int
    credit: int
    amount: int


class RollResult(Record, frozen=True):
    """A settled roll: `number` counts the rolls of the session, `serial` names the session.

    `thrower` and `next_thrower` hold the player who threw and the one who has the dice now, or
    nobody. `hand_ended` is 1 when the dice moved on (R4).
    """

    session: int
    serial: int
    number: int
    outcome: int
    dice: tuple[int, ...]
    board_before: tuple[int, ...]
    board: tuple[int, ...]
    thrower: tuple[int, ...]
    next_thrower: tuple[int, ...]
    hand_ended: int
    bets: tuple[BetResult, ...]
    returned: tuple[ReturnedBet, ...]
    postings: tuple[Posting, ...]


class BlockResult(Record, frozen=True):
    """What a block did: (player, sequence number, receipts) of each action, rolls, closings.

    `returned` are bets that operations of this block made the bank give back; those that a roll
    made it give back stand with the roll. `voters` are the voting keys of the next epoch, if this
    block seals one.
    """

    height: int
    time_ms: int
    actions: tuple[tuple[int, int, tuple[Receipt, ...]], ...]
    rolls: tuple[RollResult, ...]
    closed: tuple[int, ...]
    returned: tuple[ReturnedBet, ...] = ()
    voters: tuple[bytes, ...] = ()


DONE = Receipt(Code.DONE)

_SENTENCES: Mapping[int, str] = {
    Code.DONE: "done",
    Code.STRANGER: "only players of this table may act, and there is no player {}: "
    "ask for a seat when the next table is made",
    Code.UNKNOWN_OPERATION: "this version of the rules has no such operation: "
    "update the node that sent it",
    Code.BLOCK_FULL: "this block holds no more operations: submit it again for the next one",
    Code.OPERATIONS: "a block takes {} operations of one player: submit the rest again",
    Code.NO_GAME: "there is no game number {} at this table: choose one that `help` lists",
    Code.SESSIONS: "{} games are open and the table allows no more: join one, or wait until one "
    "ends",
    Code.SESSIONS_OF_PLAYER: "you have opened {} games that still run, which is the limit: "
    "finish one first",
    Code.NO_SESSION: "there is no game {}: it has ended or was never opened",
    Code.SEATED: "you have a seat in this game already: bet, or leave it first",
    Code.NOT_SEATED: "you have no seat in this game: sit down first",
    Code.NO_MORE_BETS: "no more bets: the dice are out, wait for the roll to be paid",
    Code.AMOUNT: "{} is not an amount of chips: bet 1 to {}",
    Code.RACK: "this takes {} chips and your rack holds {}: bet less",
    Code.BANK: "the bank would have to hold {} chips more and has {} free: bet less, or wait until "
    "other bets are decided",
    Code.BETS: "a seat may have {} bets at once: take one down first",
    Code.NO_BET: "you have no such bet here: look at your bets on the table",
    Code.STAKE: "the bet holds {1} chips and you asked for {0} of them: take down at most that",
    Code.WORKING: "a bet is called on (1), off (2) or left to the rules (0), not {}",
    Code.NOT_THROWER: "player {} has the dice: wait for your turn",
    Code.NOBODY_THROWS: "nobody may throw yet: the thrower needs {needs} first",
    Code.TOO_EARLY: "others have {} ms left to bet: throw then, or when all are ready",
    Code.NO_DICE: "the players are still preparing dice together: throw again in a moment",
    Code.NOTHING_LIES: "no bet lies on the layout, so there is nothing to roll for: bet first",
    Code.ROLL_CALLED: "the roll has been called already: the dice come when this block is final",
    Code.OWN_ROLL: "you have called the roll, so your own bets stay as they are: wait for it",
    Code.HAND_GOES_ON: "the dice may not be passed now: throw, or leave",
    Code.NOBODY_ELSE: "nobody else is seated to take the dice: throw, or wait for company",
    Code.NOT_DUE: "no timer of this game has run out: the next one does in {} ms",
    Code.NO_TIMER: "no timer of this game runs: they do only while a bet lies on the layout",
    Code.NOT_EMPTY: "the game is not empty: {} seats are taken and {} chips lie on the layout",
    Code.NOT_IDLE: "only who opened an empty game may end it now; others may in {} ms",
    Code.BANKER: "you are the bank of this table: you do not bet against yourself",
    Code.NO_POOL: "the players of this table own no pool: its bank has another owner",
    Code.POOL_PART: "your part of the pool is {1} chips and you asked for {0}: ask for 1 to {1}",
    Code.POOL_PROMISED: "the pool stands for bets on the table and has {} chips free: take out at "
    "most that, or wait until bets are decided",
    Code.POOL_WAITS: "dice are out, so nobody moves chips of the pool: wait until the roll is paid",
    Code.CHEATED: "this seat signed two votes that exclude each other, so it votes no more: "
    "it may still play",
    Code.LAST_VOTER: "somebody has to vote, and the others could not go on without this seat: let "
    "another player ask for a vote first",
    Code.KEYS_OF_EPOCH: "keys for epoch {} were sent, the next one is {}: send them again for it",
    Code.KEYS_IN_USE: "these keys are not acceptable or known at the table: make new ones",
    Code.NO_VOTE: "only who votes may let newcomers in: ask one who does",
    Code.TABLE_FULL: "the table has had {} members and takes no more: make a new table",
    Code.NEWCOMER_KNOWN: "a member of this table has this name or these keys: take others",
    Code.APPROVED_ALREADY: "you have approved this newcomer: others have to as well",
    Code.CLOSED_TABLE: "this table takes no newcomers: make a new table",
    Code.JOIN_INVALID: "the request to join is not one for this table: ask for a new invite",
    Code.HAS_LEFT: "this seat has left the table for good: join again under new keys",
    Code.STILL_SEATED: "you have a seat in game {}: leave it first",
    Code.OWN_LOSS: "your own loss limit is {} chips in 24 hours: {} are lost or at stake, so a bet "
    "of {} goes beyond it: bet less, or wait {} minutes",
    Code.OWN_TIME: "your own time limit of {} minutes in 24 hours is over: bet again in {} minutes",
    Code.OTHER_DEVICE: "this key also plays on another device: action {} was used there, so what you "
    "asked here was not done: ask again, and play on one device",
    Code.VOTERS_CHANGE: "the table is changing who votes: throw again in a moment",
}


def describe(receipt: Receipt, rules: GameRules | None = None) -> str:
    """Return the sentence for a player: what was refused, why, and what to do.

    `rules` are those of the operation's session; without them a refusal of the game has only its
    number.
    """
    if receipt.code >= GAME_CODES:
        if rules is not None:
            return rules.describe(Refusal(receipt.code, receipt.values))
        return f"the rules of the game refuse this (code {receipt.code})"
    needs = "the bet that the game asks for" if rules is None else rules.thrower_needs
    return _SENTENCES[receipt.code].format(*receipt.values, needs=needs)
