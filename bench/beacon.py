"""What one joint roll costs: bytes that a node receives, and milliseconds of one core.

A table of n members, all present, where everybody deals. `receive` is what the network brings to one
node for one roll: its reveals, and its share of the dealings that 64 rolls use up. `open` takes t
reveals of others and gives the settle; `verify` is a settle that was opened by other holders, by a
node that knows nothing of it yet; `verify_known` by one that opened the roll itself. `matrix` is paid
once for each set of holders that answers. Times are medians of CPU time, so a busy machine blurs them
little.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from consensus import shamir
from consensus.beacon_items import (
    CERTIFICATE_KIND,
    BeaconContext,
    DealCertificate,
)
from consensus.beacon_rolls import OpenRoll, RevealPayload
from consensus.beacon_state import BeaconState, Settled
from consensus.dealing import (
    BATCH,
    Dealing,
    HeldShares,
    ack_payload,
    header_hash,
    open_box,
    open_text,
)
from consensus.encoding import decode_as, digest, encode
from consensus.messages import Number, frame
from consensus.signing import Domain, SigningKey, parse_envelope, sign_envelope, verify
from consensus.validators import ValidatorIndex, Validators, bitmap

CHAIN = digest("chain", b"bench")
CLOSE = digest("block", b"bench")
T = TypeVar("T")


def timed(action: Callable[[], T], times: int) -> tuple[float, T]:
    """Return the median CPU milliseconds of an action, and what it returned last."""
    taken = []
    result = action()
    for _ in range(times):
        start = time.process_time()
        result = action()
        taken.append((time.process_time() - start) * 1000)
    return statistics.median(taken), result


class Members:
    """The keys and dealings of a table whose members are all honest."""

    def __init__(self, n: int) -> None:
        """Make keys, and one dealing of everybody with every ack."""
        signers = [SigningKey(digest("signer", bytes((i,)))) for i in range(n)]
        self.n = n
        self.signers = sorted(signers, key=lambda signer: signer.public_key)
        self.validators = Validators(
            tuple(signer.public_key for signer in self.signers), digest("lead", b"")
        )
        self.box_secrets = [digest("box", bytes((i,))) for i in range(n)]
        self.box_keys = [
            X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
            for secret in self.box_secrets
        ]
        self.t = self.context().t
        self.dealings = [self.deal(dealer) for dealer in range(n)]
        self.items = [self.certify(dealing) for dealing in self.dealings]

    def context(self) -> BeaconContext:
        """Return a context in which nothing was verified yet."""
        return BeaconContext(CHAIN, 0, self.validators, verify)

    def deal(self, dealer: int) -> Dealing:
        """Make a member's dealing."""
        entropy = digest("entropy", bytes((dealer,)))
        return Dealing(CHAIN, 0, dealer, 0, t=self.t, n=self.n, entropy=entropy)

    def sign_deal(self, dealing: Dealing) -> bytes:
        """Sign its header."""
        signer = self.signers[dealing.header.dealer]
        return sign_envelope(signer, Domain.DEAL, CHAIN, encode(dealing.header))

    def ack(self, dealing: Dealing, holder: int) -> bytes:
        """Sign a holder's ack."""
        payload = ack_payload(dealing.header)
        return sign_envelope(self.signers[holder], Domain.ACK, CHAIN, payload)

    def certify(self, dealing: Dealing) -> bytes:
        """Return the certificate by all."""
        everybody = range(self.n)
        acks = (parse_envelope(self.ack(dealing, j)).signature for j in everybody)
        return encode(
            DealCertificate(
                CERTIFICATE_KIND,
                self.sign_deal(dealing),
                bitmap(everybody, self.n),
                tuple(acks),
                bitmap((), self.n),
                b"",
            )
        )

    def hold(self, dealing: Dealing, holder: int) -> HeldShares:
        """Return a holder's part, checked."""
        held = open_text(CHAIN, dealing.header, holder, self.n, dealing.text(holder))
        assert isinstance(held, HeldShares), held
        return held

    def closed(self, context: BeaconContext) -> BeaconState:
        """Return a state with all dealings and one closed roll."""
        state = BeaconState.genesis(context)
        for item in self.items:
            assert state.add_certificate(item) is None
        state.close(1)
        state.bind(CLOSE)
        return state

    def start_roll(self, state: BeaconState, holder: int) -> OpenRoll:
        """Return the roll as a member opens it, with its own shares."""
        [pending] = state.pending
        dealings = [state.dealt(place) for place in pending.places]
        held = [self.hold(self.dealings[place.dealer], holder) for place in pending.places]
        return OpenRoll(self.context(), pending, dealings, held)


def measure(n: int, times: int) -> dict[str, object]:
    """Return bytes and milliseconds for a table of `n`."""
    members = Members(n)
    t = members.t
    context = members.context()
    state = members.closed(context)
    places = len(state.pending[0].places)
    rolls = [members.start_roll(state, holder) for holder in range(n)]
    envelopes = [
        sign_envelope(members.signers[j], Domain.REVEAL, CHAIN, rolls[j].payload())
        for j in range(n)
    ]
    reveal_ms, _ = timed(
        lambda: sign_envelope(members.signers[0], Domain.REVEAL, CHAIN, rolls[0].payload()), times
    )

    def run(first: int) -> OpenRoll:
        """Open the roll at the last member by reveals of t - 1 others from `first` on."""
        roll = fresh.pop()
        roll.start()
        for j in range(first, first + t - 1):
            envelope = parse_envelope(envelopes[j])
            reveal = decode_as(envelope.payload, RevealPayload)
            assert roll.check(reveal) is None
            roll.take(ValidatorIndex(j), reveal, envelope)
        return roll

    fresh = [members.start_roll(state, n - 1) for _ in range(times + 2)]
    open_ms, opened = timed(lambda: run(0), times)
    item = opened.item
    assert item is not None, "t reveals open the roll"
    other = run(min(1, n - t)).item
    assert other is not None, "and so do t others"

    def settle(on: BeaconState, what: bytes) -> Settled:
        settled = on.fork().settle(what)
        assert isinstance(settled, Settled), settled
        return settled

    unknowing = [members.closed(members.context()) for _ in range(times + 1)]
    verify_ms, _ = timed(lambda: settle(unknowing.pop(), other), times)
    settle(state, item)
    known_ms, _ = timed(lambda: settle(state, other), times)
    holders = tuple(range(n - t, n))

    def make_matrix() -> object:
        shamir._matrix.cache_clear()  # noqa: SLF001  (the cost is of the first time)
        return shamir.recover(holders, [1] * t, n)

    matrix_ms, _ = timed(make_matrix, times)
    return {
        "n": n,
        "t": t,
        "dealers_per_roll": places,
        "bytes": size(members, places, len(envelopes[0]), item),
        "ms": {
            "reveal": round(reveal_ms, 3),
            "open": round(open_ms, 3),
            "verify": round(verify_ms, 3),
            "verify_known": round(known_ms, 3),
            "matrix": round(matrix_ms, 3),
        }
        | dealing_ms(members, places, times),
    }


def size(members: Members, places: int, reveal: int, item: bytes) -> dict[str, object]:
    """Return the bytes of one roll as one node receives them."""
    n = members.n
    dealing = members.dealings[0]
    deal = members.sign_deal(dealing)
    message = dealing.seal(n - 1, members.box_keys[n - 1], deal)
    assert message is not None
    box = len(frame(Number.DEAL, message))
    ack = len(members.ack(dealing, 0)) + 1
    certificate = len(members.items[0])
    setup = ((n - 1) * (box + ack) + n * certificate) * places // (n * BATCH)
    return {
        "reveal": reveal + 1,
        "receive_reveals": (n - 1) * (reveal + 1),
        "receive_setup": setup,
        "settle": len(item),
        "box": box,
        "certificate": certificate,
    }


def dealing_ms(members: Members, places: int, times: int) -> dict[str, float]:
    """Return the milliseconds that dealing and holding add to each roll of one node."""
    n = members.n
    per_roll = places / (n * BATCH)

    def seal_all() -> None:
        dealing = members.deal(0)
        deal = members.sign_deal(dealing)
        for holder in range(1, n):
            dealing.seal(holder, members.box_keys[holder], deal)

    dealing = members.dealings[0]
    message = dealing.seal(n - 1, members.box_keys[n - 1], members.sign_deal(dealing))
    assert message is not None

    def hold() -> None:
        text = open_box(message, header_hash(encode(dealing.header)), members.box_secrets[n - 1])
        assert text is not None
        assert isinstance(open_text(CHAIN, dealing.header, n - 1, n, text), HeldShares)

    def certify() -> None:
        assert not isinstance(members.context().check_certificate(members.items[0]), str)

    few = max(3, times // 10)
    return {
        "deal": round(timed(seal_all, few)[0] * per_roll, 3),
        "hold": round(timed(hold, few)[0] * n * per_roll, 3),
        "certificates": round(timed(certify, few)[0] * n * per_roll, 3),
    }


def show(results: Sequence[dict[str, object]]) -> str:
    """Return the figures as text, one table size to a paragraph."""
    return "\n\n".join(
        "\n".join(f"{name}: {value}" for name, value in result.items()) for result in results
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what one joint roll costs")
    parser.add_argument("--members", type=int, nargs="+", default=[4, 16, 64], metavar="N")
    parser.add_argument("--times", type=int, default=30, help="repetitions (default: 30)")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    arguments = parser.parse_args()
    results = [measure(n, arguments.times) for n in arguments.members]
    print(json.dumps(results, indent=2) if arguments.json else show(results))


if __name__ == "__main__":
    main()
