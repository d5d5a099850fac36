"""Golden scripts: one seat at a table, a line for each thing that it does, and what came of it.

A line is `COMMAND => RESULT`; `#` begins a comment. Commands: `table NAME=VALUE` (first), `bet
WORDS`, `down NAME [CHIPS]`, `on NAME`, `off NAME`, `default NAME`, `roll DIE DIE`. The rack begins
with 1,000 chips.
"""

from node.game.craps.board import POINT
from node.game.craps.params import CrapsParams
from node.game.craps.rules import CrapsRules
from node.game.options import parse_options
from node.game.rules import Bet, BetKey, Refusal
from tests.game.craps.table import roll

ARROW = " => "
RACK = 1_000


class Script:
    """The table that a script plays at."""

    def __init__(self) -> None:
        self.rules = CrapsRules(CrapsParams())
        self.board = self.rules.opening_board()
        self.bets: dict[BetKey, Bet] = {}
        self.rack = RACK
        self.bank = 0

    def play(self, command: str) -> str:
        """Do what a line says and return what came of it."""
        word, *words = command.split()
        match word:
            case "table":
                return self._options(words)
            case "bet":
                return self._bet(words)
            case "down":
                return self._down(words)
            case "on" | "off" | "default":
                return self._call({"default": 0, "on": 1, "off": 2}[word], words)
            case "roll":
                return self._roll(int(words[0]), int(words[1]))
            case _:
                raise ValueError(f"no such command: {command}")

    def chips(self) -> int:
        """Return all chips: rack, layout and bank."""
        return self.rack + self.bank + sum(bet.stake + bet.vig for bet in self.bets.values())

    def _options(self, words: list[str]) -> str:
        named = dict(word.split("=") for word in words)
        options = {
            name: [int(part) for part in text.split(",")] if "," in text else int(text)
            for name, text in named.items()
        }
        params = parse_options(CrapsParams, "craps", options)
        assert isinstance(params, CrapsParams), params
        self.rules = CrapsRules(params)
        return "ok"

    def _bet(self, words: list[str]) -> str:
        wanted = self.rules.parse_bet(words, self.board, self.bets)
        if isinstance(wanted, str):
            return wanted
        for key, amount in wanted:
            refusal = self.rules.check_bet(self.board, self.bets, key, amount)
            if refusal:
                return self.rules.describe(refusal)
            bet = self.bets.get(key, Bet(0, 1))
            self._put(key, bet, bet.stake + amount)
        return self._rack()

    def _put(self, key: BetKey, bet: Bet, stake: int) -> None:
        vig = self.rules.vig(key, stake) if stake else 0
        self.rack -= stake - bet.stake + vig - bet.vig
        self.bets[key] = Bet(stake, bet.id, bet.working, vig)
        if not stake:
            del self.bets[key]

    def _find(self, words: list[str]) -> BetKey | None:
        return next((k for k in self.bets if self.rules.bet_name(k) == " ".join(words)), None)

    def _down(self, words: list[str]) -> str:
        key, amount = self._find(words), None
        if key is None:
            key, amount = self._find(words[:-1]), int(words[-1])
        assert key is not None, f"no bet {words}"
        bet = self.bets[key]
        amount = amount or bet.stake
        refusal: Refusal | None = self.rules.check_reduce(self.board, self.bets, key, amount)
        if refusal:
            return self.rules.describe(refusal)
        if amount == bet.stake:
            for odds in self.rules.dependents(self.bets, key):
                self._put(odds, self.bets[odds], 0)
        self._put(key, bet, bet.stake - amount)
        return self._rack()

    def _call(self, working: int, words: list[str]) -> str:
        key = self._find(words)
        assert key is not None, f"no bet {words}"
        refusal = self.rules.check_working(self.board, self.bets, key, working)
        if refusal:
            return self.rules.describe(refusal)
        bet = self.bets[key]
        self.bets[key] = Bet(bet.stake, bet.id, working, bet.vig)
        return "ok"

    def _roll(self, low: int, high: int) -> str:
        self.board, self.bets, rows, ended = roll(self.rules, self.board, self.bets, low, high)
        said = []
        for row in rows:
            name = self.rules.bet_name(row.before)
            vig = f" vig {row.vig}" if row.vig else ""
            if row.lost:
                said.append(f"{name} -{row.lost}{vig}")
            elif row.profit:
                said.append(f"{name} +{row.profit}{vig}{' stays' if row.left else ''}")
            elif row.left:
                said.append(f"{name} goes to {self.rules.bet_name(row.key)}")
            else:
                said.append(f"{name} back")
            self.rack += row.returned
            self.bank += row.lost + row.vig - row.profit
        point = self.board[POINT]
        puck = f"puck ON {point}" if point else "puck OFF"
        over = "; hand over" if ended else ""
        return f"{low + high}: {', '.join(said) or 'nothing'}; {puck}{over}; rack {self.rack}"

    def _rack(self) -> str:
        return f"rack {self.rack}"


def play(text: str) -> str:
    """Return a script with the result of every line as the rules have it now."""
    script, lines = Script(), []
    for line in text.splitlines():
        command = line.partition(ARROW)[0].rstrip()
        if command and not command.startswith("#"):
            lines.append(f"{command}{ARROW}{script.play(command)}")
            assert script.chips() == RACK, f"chips after {command!r}"
        else:
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"
