"""The chips of a table: racks, layouts and the bank, and what the bank must be able to pay (R29).

Double entry: chips move from one account to another and are never made after genesis, so
racks + layouts + bank = minted after every operation, and every block asserts it. Vig and rake are
income of the bank; what they came to is counted beside it.

Reserve. Every session has a worst case: the greatest sum over its bets that one outcome asks of the
bank, at least 0. Rolls of different sessions are independent and one bank pays them all, so it must
hold the sum of the worst cases, times the reserve ratio. No bet is accepted that would break this.
The sum of what all bets could ever win, each for itself, is never less than that and costs one
addition a bet. A bank that holds so much covers the worst cases, which are then not worked out.

Shortage. What a roll paid, or a bet that was taken down and had stood against others, can leave the
bank unable to cover what still lies there. Then bets of that session go back to their players,
stake and vig, until it is covered: of the bets that the worst outcome pays (the lowest one, if
several are as bad), first those that just won and stay up, then those that may be taken down, then
contract bets; within each, the newest first, with the bets that depend on it. This always ends,
because a session without bets asks nothing, and whatever other sessions ask was covered before.
Nobody is ever unpaid, and nothing comes off the layout without a row in the result.

Pool. Where players fade each other, the bank belongs to those who put chips into it. What it gained
or lost by a roll is shared out in proportion to their parts, to the chip: whole chips first, the
rest to the largest remainders, lowest player first. Chips won while nobody owned the pool wait in it
for the next owner. Between the closing of a session and its payment nobody moves chips in or out,
because the dice can be known before the block that pays.
"""

from collections.abc import Sequence
from typing import Final

from node.game.params import BASIS
from node.game.players import Account
from node.game.positions import Settled, move, rake_of
from node.game.receipts import BetResult, Posting
from node.game.rules import BetKey, Settlement
from node.game.session import GameSession

BANK: Final = 0
LAYOUT: Final = 1
FIRST_RACK: Final = 2
"""The rack of player p is account 2 + p of a posting."""
_COLLECTED = (LAYOUT, BANK)


class TreasuryManager:
    """The bank and the sums that the books must agree with. Chips are integers, never negative."""

    __slots__ = ("bank", "layout", "minted", "prizes", "rake", "reserve_bp", "vig")

    def __init__(self, bank: int, minted: int, reserve_bp: int) -> None:
        """Open the books: everything that is not in the bank is in racks."""
        self.bank = bank
        self.minted = minted
        self.reserve_bp = reserve_bp
        self.layout = 0
        self.prizes = 0
        """What all bets together could win: at least the sum of the worst cases."""
        self.vig = 0
        """All vig that the bank ever took."""
        self.rake = 0
        """All rake that the bank ever kept."""

    def fork(self) -> "TreasuryManager":
        """Return independent books with the same content."""
        twin = TreasuryManager(self.bank, self.minted, self.reserve_bp)
        twin.layout, twin.prizes = self.layout, self.prizes
        twin.vig, twin.rake = self.vig, self.rake
        return twin

    def free(self, exposed: int) -> int:
        """Return what the bank may promise beyond `exposed` chips; negative when it is short."""
        return self.bank * BASIS // self.reserve_bp - exposed

    def idle(self, exposed: int) -> int:
        """Return the chips that could leave the bank if it has promised `exposed`."""
        return self.bank + -exposed * self.reserve_bp // BASIS

    def covers(self, exposed: int) -> bool:
        """Say whether the bank holds enough to promise so many chips."""
        return exposed * self.reserve_bp <= self.bank * BASIS

    def stake(self, account: Account, chips: int, prize: int) -> None:
        """Move chips from a rack to the layout, for a bet that can win `prize` more."""
        account.chips -= chips
        self.layout += chips
        self.prizes += prize

    def unstake(self, account: Account, chips: int) -> None:
        """Move chips from the layout to a rack; a negative number the other way."""
        self.layout -= chips
        account.chips += chips

    def pay(self, account: Account, collected: int, stakes: int, won: int) -> None:
        """Settle a seat: `collected` goes from the layout to the bank, the rest to the rack.

        `stakes` come off the layout, or go back to it when negative; `won` comes out of the bank.
        """
        self.layout -= collected + stakes
        self.bank += collected - won
        account.chips += stakes + won

    def fund(self, account: Account, chips: int) -> None:
        """Move chips from a rack to the pool, or back when negative."""
        account.chips -= chips
        account.pooled += chips
        self.bank += chips

    def check(self, racks: int, layouts: int, prizes: int) -> None:
        """Assert that the books agree with the racks and layouts as they are (T5)."""
        assert self.layout == layouts, f"layout {self.layout} in the books, {layouts} in bets"
        assert self.prizes == prizes, f"prizes {self.prizes} in the books, {prizes} in bets"
        assert self.bank >= 0, f"bank {self.bank}"
        total = racks + layouts + self.bank
        assert total == self.minted, f"{total} chips of {self.minted}"


def share_out(parts: Sequence[int], total: int) -> list[int]:
    """Return `total` chips divided in proportion to `parts`, not all 0, by largest remainder."""
    whole = sum(parts)
    shares = [part * total // whole for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(parts[i] * total % whole), i))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def bet_result(player: int, row: Settlement, rake_bp: int) -> BetResult:
    """Return what a block's result tells of one bet that a roll settled."""
    rake = rake_of(row, rake_bp) if rake_bp else 0
    (kind, number), (new_kind, new_number) = row.before, row.key
    return BetResult(
        player,
        kind,
        number,
        row.lost,
        row.profit,
        row.vig,
        rake,
        row.returned - rake,
        new_kind,
        new_number,
        row.left,
        row.left_vig,
    )


class Payment:
    """One roll being paid: moves the chips of every row, and keeps what the result tells."""

    __slots__ = ("_rake_bp", "_sums", "_treasury", "bets", "won")

    def __init__(self, treasury: TreasuryManager, rake_bp: int) -> None:
        self._treasury = treasury
        self._rake_bp = rake_bp
        self._sums: dict[tuple[int, int], int] = {}
        self.bets: list[BetResult] = []
        self.won: dict[tuple[int, BetKey], None] = {}
        """Seat and key of every bet that won and stays up."""

    def pay_seat(
        self, session: GameSession, index: int, account: Account, settled: Settled
    ) -> None:
        """Pay and collect what a roll does to a seat; its bets that are in no row stay."""
        seat, treasury, rake_bp = session.own_seat(index), self._treasury, self._rake_bp
        player = seat.player
        won, collected, stakes = settled.won, settled.collected, settled.stakes
        results, sums = self.bets, self._sums
        for row in settled.rows:
            results.append(bet_result(player, row, rake_bp))
            if row.left and row.profit:
                self.won[index, row.key] = None
        for row in settled.moved:
            move(seat.bets, row)
        seat.position = settled.after
        session.layout += settled.chips
        session.prizes += settled.prizes
        treasury.prizes += settled.prizes
        treasury.vig += settled.vig
        treasury.rake += settled.rake
        account.open_bets += settled.bets
        treasury.pay(account, collected, stakes, won)
        rack = FIRST_RACK + player
        if collected:
            sums[_COLLECTED] = sums.get(_COLLECTED, 0) + collected
        if stakes > 0:
            sums[LAYOUT, rack] = stakes
        elif stakes:
            sums[rack, LAYOUT] = -stakes
        if won:
            sums[BANK, rack] = won
        account.remember(session.serial, session.rolls + 1, won, collected)

    def post(self, debit: int, credit: int, amount: int) -> None:
        """Note that `amount` chips went from account `debit` to `credit`."""
        key = (debit, credit)
        self._sums[key] = self._sums.get(key, 0) + amount

    def postings(self) -> tuple[Posting, ...]:
        """Return the sums, one for each pair of accounts, in order of first mention."""
        return tuple([Posting(*key, amount) for key, amount in self._sums.items()])
