"""PROTOCOL 9.1, 11.2, 11.4: power lost between any two effects, with what is kept in SQLite.

One host of a simulated table keeps its journal in a real store. When its power fails it starts again
from a copy of the files as they are at that moment, log and all, which no closing has tidied.
"""

# mypy: disable-error-code="explicit-override"
# The decorator is of Python 3.12.

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus.beacon_items import CERTIFICATE_KIND, DealCertificate, recompute_seed
from consensus.beacon_rolls import RevealPayload
from consensus.dealing import AckPayload, DealHeader
from consensus.effects import LogRecord, Persist, Send, SharesLogged
from consensus.encoding import decode_as
from consensus.messages import DealMessage, Number, SystemItems, parse_frame
from consensus.signing import parse_envelope
from consensus.validators import members_of
from netsim.host import Disk
from netsim.playing import PlayingTable
from node.epoch import NO_FLOOR, Floor
from node.store import Journal

HOST, N = 1, 4


class StoredDisk(Disk):
    """A disk that is a store in a folder."""

    def __init__(self, folder: Path, chain_id: bytes) -> None:
        self._folder, self._chain_id, self._lives = folder, chain_id, 0
        self._journal = self._open(folder / "life 0")
        super().__init__()

    def _open(self, folder: Path) -> Journal:
        folder.mkdir(parents=True, exist_ok=True)
        return Journal(folder, self._chain_id, b"host 1")

    @property
    def records(self) -> list[LogRecord]:
        """What a start finds: whatever the last life left on the disk, as it left it."""
        self._lives += 1
        old, new = (self._folder / f"life {life}" for life in (self._lives - 1, self._lives))
        shutil.copytree(old, new)
        self._journal.close()
        shutil.rmtree(old)
        self._journal = self._open(new)
        return list(self._journal.load())

    @records.setter
    def records(self, _records: Sequence[LogRecord]) -> None:
        pass

    @property
    def floor(self) -> Floor:
        return NO_FLOOR  # no host of these tables loses what it wrote

    def check(self) -> None:
        """Leave it to the store, which looks at its own seal as it loads."""

    def append(self, records: Sequence[LogRecord]) -> None:
        self._journal.append(records)

    def block(self, wanted: bytes) -> tuple[bytes, bytes] | None:
        return self._journal.block(wanted)

    def final_height(self) -> int:
        return self._journal.final_height()

    def rolls(self) -> list[tuple[int, int, bytes]]:
        return [(one.session, one.number, one.proof) for one in self._journal.rolls()]

    def close(self) -> None:
        self._journal.close()


class Watched(PlayingTable):
    """A table that takes note of what one host says about the dice."""

    def __init__(self, seed: int, folder: Path, effects: int) -> None:
        self._effects: int | None = effects  # from the first dealing on until the power fails
        self.dealt: dict[tuple[int, int], set[bytes]] = {}
        self.acked: dict[tuple[int, int, int], set[bytes]] = {}
        self.published: dict[tuple[int, int], set[bytes]] = {}
        self.shown: dict[tuple[int, int, int], set[bytes]] = {}
        super().__init__(N, seed, begin=False)
        self.disk = StoredDisk(folder, self.chain_id)
        self.network.hosts[HOST].disk = self.disk
        self.begin()

    def _observe(self, host: int, effect: object) -> None:
        match effect:
            case Send(_, data) if host == HOST:
                self._look(data)
            case Persist(records) if host == HOST and self._effects is not None:
                if any(isinstance(record, SharesLogged) for record in records):
                    self.network.hosts[HOST].crash_after = self._effects
                    self._effects = None
            case _:
                pass
        super()._observe(host, effect)

    def _look(self, data: bytes) -> None:
        number, message = parse_frame(data)
        match number, message:
            case Number.DEAL, DealMessage():
                header = decode_as(parse_envelope(message.deal).payload, DealHeader)
                self.dealt.setdefault((header.epoch, header.batch), set()).add(header.root)
            case Number.ACK, _:
                ack = decode_as(parse_envelope(data[1:]).payload, AckPayload)
                self.acked.setdefault((ack.epoch, ack.dealer, ack.batch), set()).add(ack.header)
            case Number.SYSTEM_ITEMS, SystemItems():
                for item in message.items:
                    if item[1] == CERTIFICATE_KIND:
                        certificate = decode_as(item, DealCertificate)
                        deal = decode_as(parse_envelope(certificate.deal).payload, DealHeader)
                        if any(members_of(certificate.published, N) or ()):
                            key = (deal.epoch, deal.batch)
                            self.published.setdefault(key, set()).add(certificate.published)
            case Number.REVEAL, _:
                reveal = decode_as(parse_envelope(data[1:]).payload, RevealPayload)
                close = self.invariants.height_of(reveal.close_hash)
                assert close is not None, "shares of a block that is not final"
                assert close <= self.disk.final_height(), "shares before the close is on the disk"
                for at, share in enumerate(reveal.shares):
                    if share:
                        self.shown.setdefault((reveal.epoch, reveal.roll, at), set()).add(share)
            case _:
                pass

    def said(self) -> tuple[object, ...]:
        return self.dealt, self.acked, self.shown

    def check(self) -> None:
        """Say that the host never contradicted itself, and kept the proof of every roll."""
        for said in (self.dealt, self.acked, self.published, self.shown):
            assert all(len(one) == 1 for one in said.values()), said
        kept = self.disk.rolls()
        assert len(kept) == len(self.rolls)
        for (serial, number, proof), roll in zip(kept, self.rolls, strict=True):
            assert (serial, number) == (roll.serial, roll.number)
            assert recompute_seed(proof)
        assert all(not member.cheated for member in self.replicas[0].final.membership.members)
        assert all(
            replica._epoch.proofs == ()
            for replica in self.replicas  # nobody holds a proof
        )


@pytest.mark.parametrize("first", [0, 1])
def test_power_lost_between_any_two_effects_of_dealing_and_rolling(
    first: int, tmp_path: Path
) -> None:
    acted, crashes = [False] * 3, 0
    for effects in range(first, 24, 3):
        table = Watched(effects, tmp_path / str(effects), effects)
        table.play(1, limit_ms=300_000)
        host = table.network.hosts[HOST]
        host.crash_after = None
        if host.node is None:
            crashes += 1
            table.network.boot(HOST)
        table.play(2, limit_ms=300_000)
        table.settle()
        table.check()
        table.disk.close()
        acted = [so or bool(now) for so, now in zip(acted, table.said(), strict=True)]
    assert all(acted), "it dealt, acked and revealed"
    assert crashes >= 6, f"{crashes} crashes before the roll was over"
