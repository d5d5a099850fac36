"""Tables on loopback for tests: members in descriptor order, everybody's consent, free ports."""

import socket
from collections.abc import Callable
from typing import TypeAlias

from node.addresses import AddressBook, founders_of
from node.descriptor import Table, build_descriptor, member_of, sign_accept
from node.identity import Keys, credentials_of
from node.mesh import Contact, Mesh

HOST = "127.0.0.1"

Seating: TypeAlias = tuple[Table, list[Keys], list[int]]
"""A table, the keys of its members and the ports that they listen on, in member order."""


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago; all are held until all are known."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def make_table(
    size: int, ports: list[int] | None = None, name: str = "friday", params: bytes = b""
) -> Seating:
    """Return (table, keys in member order, ports in member order); port 0 tells no address."""
    keys = sorted((Keys(bytes([i + 1]) * 32) for i in range(size)),
                  key=lambda one: one.consensus.public_key)  # fmt: skip
    ports = ports or free_ports(size)
    members = [member_of(one, f"player {i}") for i, one in enumerate(keys)]
    descriptor = build_descriptor(name, bytes(16), members, params)
    accepts = tuple(sign_accept(one, descriptor) for one in keys)
    addresses = tuple((f"{HOST}:{port}",) if port else () for port in ports)
    table = Table(descriptor, accepts, addresses)
    assert table.problem() is None
    return table, keys, ports


def mesh_of(table: Table, keys: Keys, wake: Callable[[], None]) -> Mesh:
    """Return the mesh of a member that knows what the table file says."""
    known = founders_of(table)
    contacts = [Contact(slot, one.identity, one.nickname) for slot, one in enumerate(known)]
    book = AddressBook(table.chain_id, known)
    return Mesh(table.chain_id, contacts, book, credentials_of(keys), wake)
