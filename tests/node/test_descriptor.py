"""Identity files, descriptors, invites and table files: what holds and what is refused."""

from pathlib import Path

import msgspec
import pytest

from consensus.encoding import DecodeError, decode_as, encode
from node.descriptor import (
    Descriptor,
    Invite,
    Join,
    Member,
    Table,
    build_descriptor,
    format_invite,
    is_accepted_by,
    load_table,
    lobby_id_of,
    member_of,
    open_join,
    parse_invite,
    problem_of_descriptor,
    save_table,
    sign_accept,
    sign_join,
)
from node.errors import OperatorError
from node.identity import Keys, create_keys, load_keys

KEYS = [Keys(bytes([i]) * 32) for i in range(3)]
MEMBERS = [member_of(keys, f"player {i}") for i, keys in enumerate(KEYS)]
INVITE = format_invite(
    Invite(1, bytes(32), KEYS[0].identity.public_key, bytes(16), ("127.0.0.1:7000",), 0)
)


def table() -> Table:
    descriptor = build_descriptor("friday", bytes(16), MEMBERS, b"params")
    by_key = {bytes(keys.identity.public_key): keys for keys in KEYS}
    accepts = tuple(sign_accept(by_key[m.identity], descriptor) for m in descriptor.members)
    return Table(descriptor, accepts, (("127.0.0.1:7000",),) * 3)


def problem_of(*members: Member) -> str:
    """Return why nobody should sign a table of these members."""
    return problem_of_descriptor(build_descriptor("t", bytes(16), members, b"")) or ""


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_keys_come_back_from_their_file(tmp_path: Path, passphrase: str) -> None:
    made = create_keys(tmp_path / "identity.key", passphrase)
    assert (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600
    assert load_keys(tmp_path / "identity.key", passphrase).master == made.master


def test_a_key_file_is_refused_when_shared_damaged_sealed_or_already_there(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    create_keys(path, "right")
    with pytest.raises(OperatorError, match="exists already"):
        create_keys(path)
    with pytest.raises(OperatorError, match="does not open"):
        load_keys(path, "wrong")
    with pytest.raises(OperatorError, match="none was given"):
        load_keys(path)
    path.chmod(0o640)
    with pytest.raises(OperatorError, match="0640"):
        load_keys(path, "right")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(OperatorError, match="damaged"):
        load_keys(path, "right")


def test_a_table_file_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.cbor"
    save_table(path, table())
    assert load_table(path) == table()
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes((data[50] ^ 1,)) + data[51:])
    with pytest.raises(OperatorError, match="damaged"):
        load_table(path)


def test_a_missing_or_foreign_consent_is_named() -> None:
    good = table()
    swapped = Table(good.descriptor, (good.accepts[1], *good.accepts[1:]), good.addresses)
    assert good.problem() is None
    assert "does not verify" in (swapped.problem() or "")
    other = build_descriptor("saturday", bytes(16), MEMBERS, b"params")
    assert not is_accepted_by(good.descriptor.members[0], other, good.accepts[0])


def test_members_with_one_nickname_one_key_or_wrong_order_are_refused() -> None:
    twin = member_of(KEYS[1], "Player 0")
    assert "nickname" in problem_of(MEMBERS[0], twin)
    assert "same" in problem_of(MEMBERS[0], member_of(KEYS[0], "other"))
    descriptor = table().descriptor
    unsorted = msgspec.structs.replace(descriptor, members=descriptor.members[::-1])
    assert "not sorted" in (problem_of_descriptor(unsorted) or "")
    for name in ("", " x", "a\x1b[2J", "x" * 25):
        with pytest.raises(OperatorError):
            member_of(KEYS[0], name)


@pytest.mark.parametrize("field", ["identity", "consensus_key"])
def test_a_key_with_a_component_of_low_order_takes_no_seat(field: str) -> None:
    # It verifies (see the vectors of the signing test), but verifiers could disagree about it.
    mixed = bytes.fromhex("cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d")
    member = msgspec.structs.replace(MEMBERS[1], **{field: mixed})
    assert "not an acceptable Ed25519 key" in problem_of(MEMBERS[0], member)


def test_a_consent_is_for_every_bit_of_the_terms() -> None:
    good = table()
    data = encode(good.descriptor)
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            descriptor = decode_as(bytes(altered), Descriptor)
        except DecodeError:
            continue
        assert not is_accepted_by(good.descriptor.members[0], descriptor, good.accepts[0])


def test_a_join_holds_for_its_lobby_only() -> None:
    join = Join(bytes(16), MEMBERS[0], ("[::1]:9",))
    envelope = sign_join(KEYS[0], bytes(32), join)
    assert open_join(bytes(32), envelope) == join
    with pytest.raises(DecodeError):
        open_join(bytes([1]) * 32, envelope)


def test_an_invite_survives_line_breaks_and_names_every_other_damage() -> None:
    assert format_invite(parse_invite(f" {INVITE[:50]}\n{INVITE[50:]}\n")) == INVITE
    with pytest.raises(OperatorError, match="is not an invite: one begins with"):
        parse_invite("bitcoin:" + INVITE)
    with pytest.raises(OperatorError, match="cannot be in one"):
        parse_invite(INVITE[:40] + "!" + INVITE[41:])
    for garbage in ("hellohello", "AAAA", "_" * 300, "A" * 300):
        with pytest.raises(OperatorError, match="is not an invite: copy all of the line"):
            parse_invite("bitcraps1:" + garbage)
    for end in range(len("bitcraps1:"), len(INVITE)):
        with pytest.raises(OperatorError, match="cut off"):
            parse_invite(INVITE[:end])
    for at in range(len("bitcraps1:"), len(INVITE)):
        with pytest.raises(OperatorError):
            parse_invite(INVITE[:at] + ("A" if INVITE[at] != "A" else "B") + INVITE[at + 1 :])


@pytest.mark.parametrize("validators", [(0, 0), (1, 0), (0, 3), (2, 4)])
def test_voters_that_are_no_members_in_order_are_refused(validators: tuple[int, ...]) -> None:
    good = build_descriptor("t", bytes(16), MEMBERS, b"")
    bad = msgspec.structs.replace(good, validators=validators)
    assert problem_of_descriptor(bad) == "the voters are not members in order, each once"


def test_of_those_who_come_the_first_vote_and_nobody_else() -> None:
    for voters in (1, 2, 3):
        made = build_descriptor("t", bytes(16), MEMBERS, b"", voters)
        assert problem_of_descriptor(made) is None
        voting = {made.members[at].nickname for at in made.validators}
        assert voting == {f"player {i}" for i in range(voters)}
        keys = Table(made, (), ()).validators().keys
        assert set(keys) == {member.consensus_key for member in MEMBERS[:voters]}


def test_a_lobby_names_how_many_vote_where_not_all_do() -> None:
    terms = KEYS[0].identity.public_key, "friday", bytes(16), 3, b""
    assert lobby_id_of(*terms) == lobby_id_of(*terms, 3)
    assert len({lobby_id_of(*terms, voters) for voters in (1, 2, 3)}) == 3


def test_only_an_invite_to_a_running_table_expires() -> None:
    host = KEYS[0].identity.public_key
    for version, expires_s in ((1, 5), (2, 0)):
        invite = Invite(version, bytes(32), host, bytes(16), ("127.0.0.1:7000",), expires_s)
        with pytest.raises(OperatorError, match="only one to a running table expires"):
            parse_invite(format_invite(invite))
