"""The chips of a table: racks, layouts and the bank, and what the bank must be able to pay (R29).

Double entry: chips move from one account to another and are never made after genesis, so
racks + layouts + bank = minted after every operation, and every block asserts it. Vig and rake are
income of the bank; what they came to is counted beside it.

Reserve. Every session has a worst case: the greatest sum over its bets that one outcome asks of the
bank, at least 0. Rolls of different sessions are independent and one bank pays them all, so it must
hold the sum of the worst cases, times the reserve ratio. No bet is accepted that would break this.

Shortage. What a roll paid, or a bet that was taken down and had stood against others, can leave the
bank unable to cover what still lies there. Then bets of that session go back to their players,
stake and vig, until it is covered: of the bets that the worst outcome pays (the lowest one, if
several are as bad), first those that just won and stay up, then those that may be taken down, then
contract bets; within each, the newest first, with the bets that depend on it. This always ends,
because a session without bets asks nothing, and whatever other sessions ask was covered before.
Nobody is ever unpaid, and nothing comes off the layout without a row in the result.
"""

from typing import Final

from node.game.params import BASIS
from node.game.players import Account
from node.game.receipts import Posting

BANK: Final = 0
LAYOUT: Final = 1
FIRST_RACK: Final = 2
"""The rack of player p is account 2 + p of a posting."""


class TreasuryManager:
    """The bank and the sums that the books must agree with. Chips are integers, never negative."""

    __slots__ = ("bank", "exposed", "layout", "minted", "rake", "reserve_bp", "shares", "vig")

    def __init__(self, bank: int, minted: int, reserve_bp: int) -> None:
        """Open the books: everything that is not in the bank is in racks."""
        self.bank = bank
        self.minted = minted
        self.reserve_bp = reserve_bp
        self.layout = 0
        self.exposed = 0
        """Sum of the worst cases of all sessions."""
        self.vig = 0
        """All vig that the bank ever took."""
        self.rake = 0
        """All rake that the bank ever kept."""
        self.shares = 0
        """All shares of the pool, in bank mode POOL."""

    def fork(self) -> "TreasuryManager":
        """Return independent books with the same content."""
        twin = TreasuryManager(self.bank, self.minted, self.reserve_bp)
        twin.layout, twin.exposed = self.layout, self.exposed
        twin.vig, twin.rake, twin.shares = self.vig, self.rake, self.shares
        return twin

    @property
    def free(self) -> int:
        """What the bank may promise beyond what it has promised; negative when it is short."""
        return self.bank * BASIS // self.reserve_bp - self.exposed

    def covers(self, more: int) -> bool:
        """Say whether the bank holds enough for what it promised and `more`."""
        return (self.exposed + more) * self.reserve_bp <= self.bank * BASIS

    def stake(self, account: Account, chips: int) -> None:
        """Move chips from a rack to the layout."""
        account.chips -= chips
        self.layout += chips

    def unstake(self, account: Account, chips: int) -> None:
        """Move chips from the layout to a rack; a negative number the other way."""
        self.layout -= chips
        account.chips += chips

    def collect(self, lost: int, vig: int) -> None:
        """Move lost stakes and vig from the layout to the bank."""
        self.layout -= lost + vig
        self.bank += lost + vig
        self.vig += vig

    def pay(self, account: Account, profit: int, rake: int) -> None:
        """Move a win, less the rake that the bank keeps of it, from the bank to a rack."""
        self.bank -= profit - rake
        self.rake += rake
        account.chips += profit - rake

    def check(self, racks: int, layouts: int) -> None:
        """Assert that the books agree with the racks and layouts as they are (T5)."""
        assert self.layout == layouts, f"layout {self.layout} in the books, {layouts} in bets"
        assert self.bank >= 0, f"bank {self.bank}"
        total = racks + layouts + self.bank
        assert total == self.minted, f"{total} chips of {self.minted}"


class Ledger:
    """The postings of one roll: per player what came and went, in order of first mention."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], int] = {}

    def post(self, debit: int, credit: int, amount: int) -> None:
        """Note that `amount` chips went from account `debit` to `credit`, or back if negative."""
        if amount < 0:
            self.post(credit, debit, -amount)
        elif amount:
            key = (debit, credit)
            self._sums[key] = self._sums.get(key, 0) + amount

    def postings(self) -> tuple[Posting, ...]:
        """Return the sums, one for each pair of accounts."""
        return tuple(Posting(*key, amount) for key, amount in self._sums.items())
