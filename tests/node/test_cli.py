"""The command line as people meet it: real processes, their words, their exit codes."""

import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from node.config import Folder, held_port, parse_config, reachable, read_config
from node.errors import OperatorError
from node.identity import load_keys
from transport.base import Address

ROOT = Path(__file__).parent.parent.parent
SECONDS_MAX = 60


def bitcraps(
    *arguments: object, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "node", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def refusal(*arguments: object, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must be refused as unusable; return its one sentence."""
    done = bitcraps(*arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("bitcraps: ")


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    folder = tmp_path / "anna"
    assert bitcraps("init", "--data", folder, "--nickname", "anna").returncode == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_init_makes_keys_for_the_owner_alone_and_settings_to_edit(anna: Path) -> None:
    folder = Folder(anna)
    assert stat.S_IMODE(folder.identity.stat().st_mode) == 0o600
    config = read_config(folder)
    assert (config.nickname, config.listen, config.public) == ("anna", ("0.0.0.0", 0), ())


def test_init_takes_the_folder_from_the_environment(tmp_path: Path) -> None:
    done = bitcraps("init", "--nickname", "ben", env={"BITCRAPS_HOME": str(tmp_path / "ben")})
    assert done.returncode == 0
    assert (
        load_keys(tmp_path / "ben" / "identity.key").identity.public_key.hex()[:16] in done.stdout
    )


def test_second_init_changes_nothing(anna: Path) -> None:
    before = contents(anna)
    assert "is not overwritten" in refusal("init", "--data", anna, "--nickname", "other")
    assert contents(anna) == before


def test_passphrase_seals_the_keys(tmp_path: Path) -> None:
    done = bitcraps(
        "init", "--data", tmp_path / "ben", "--nickname", "ben", "--passphrase",
        env={"BITCRAPS_PASSPHRASE": "corkscrew"},
    )  # fmt: skip
    assert done.returncode == 0
    load_keys(tmp_path / "ben" / "identity.key", "corkscrew")
    with pytest.raises(OperatorError, match="sealed"):
        load_keys(tmp_path / "ben" / "identity.key")


def test_every_option_of_every_command_is_explained() -> None:
    from node.cli import commands

    for name, command in commands.commands.items():
        text = bitcraps(name, "--help").stdout
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert getattr(parameter, "help", None), (name, parameter.name)
                assert parameter.opts[0] in text, (name, parameter.name)


def test_the_list_of_commands_is_whole_sentences_in_the_order_of_their_use() -> None:
    text = bitcraps("--help").stdout
    listed = re.findall(r"^  ([a-z]+) +[A-Z].*[^.]\.$", text, re.MULTILINE)
    assert listed[:6] == ["demo", "init", "host", "join", "play", "status"]
    assert len(listed) == 18


def test_every_command_takes_a_data_folder() -> None:
    from node.cli import commands

    for name, command in commands.commands.items():
        # The demo has a folder for each of its nodes.
        wanted = "keep" if name == "demo" else "folder"
        assert wanted in [parameter.name for parameter in command.params], name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["init"], "Missing option '--nickname'"),
        (["init", "--nickname", "x" * 25], "has 25 characters; allowed are 1 to 24"),
        (["init", "--nickname", "a\x07b"], "do not print"),
        (["init", "--nickname", "ben", "--listen", "nowhere"], "'nowhere' is not host:port"),
        (["init", "--nickname", "ben", "--listen", "1.2.3.4:65536"], "a port of 0 to 65535"),
        (["init", "--nickname", "ben", "--passphrase"], "set BITCRAPS_PASSPHRASE"),
        (["init", "--nickname", "ben", "--data", ""], "'' is not a folder"),
        (["init", "--nickname", "ben", "--frobnicate"], "No such option '--frobnicate'"),
    ],
)
def test_bad_words_are_refused_in_one_sentence_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    folder = tmp_path / "new"
    assert words in refusal(*arguments, env={"BITCRAPS_HOME": str(folder)})
    assert not folder.exists()


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    assert "is not a folder" in refusal("init", "--data", path, "--nickname", "ben")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "no nickname: write one"),
        ({"nickname": 5}, "nickname = 5 is not a text"),
        ({"nickname": "ben "}, "filled with spaces"),
        ({"nickname": "ben", "lisen": "x"}, "'lisen' is no setting; did you mean 'listen'?"),
        ({"nickname": "ben", "zzz": 1}, "known are nickname, listen, public"),
        ({"nickname": "ben", "listen": 80}, "listen = 80 is not a text"),
        ({"nickname": "ben", "listen": "[::1:80"}, "no host name or IP address"),
        ({"nickname": "ben", "public": "a.example"}, "is not a list"),
        ({"nickname": "ben", "public": ["a b"]}, "public host 'a b' is no name"),
        ({"nickname": "ben", "public": ["0.0.0.0"]}, "means all interfaces"),
        ({"nickname": "ben", "public": ["h"] * 9}, "9 public hosts; the limit is 8"),
    ],
)
def test_settings_are_checked_one_by_one(settings: dict[str, object], words: str) -> None:
    with pytest.raises(OperatorError) as refused:
        parse_config(settings)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nickname", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"#" * 70_000, "longer than 65536 bytes"),
        (None, "make this folder with `init`"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    folder = Folder(tmp_path)
    if content is not None:
        folder.config.write_bytes(content)
    with pytest.raises(OperatorError) as refused:
        read_config(folder)
    assert str(folder.config) in str(refused.value)
    assert words in str(refused.value)


def test_port_zero_is_chosen_once_and_kept_from_others_meanwhile() -> None:
    with held_port(Address("127.0.0.1", 0)) as held:
        assert held.port
        with pytest.raises(OSError, match="in use"):
            socket.create_server(held)


def test_an_address_of_another_machine_cannot_be_held() -> None:
    with pytest.raises(OperatorError, match="cannot listen on"), held_port(Address("192.0.2.7", 0)):
        pass


def test_others_are_told_where_a_node_can_be_reached() -> None:
    assert reachable(Address("127.0.0.1", 7), ()) == (("127.0.0.1", 7),)
    assert reachable(Address("0.0.0.0", 7), ("a.example", "::1")) == (("a.example", 7), ("::1", 7))
    (guess,) = reachable(Address("0.0.0.0", 7), ())
    assert guess.port == 7
    assert guess.host != "0.0.0.0"


def test_a_node_whose_input_is_closed_runs_like_one_at_its_end(tmp_path: Path) -> None:
    words = f'"{sys.executable}" -m node'
    init = f'{words} init --data "{tmp_path}" --nickname anna --listen 127.0.0.1:0'
    subprocess.run(["/bin/sh", "-c", init], check=True, capture_output=True, cwd=ROOT)
    host = f'exec {words} host --data "{tmp_path}" --name z --seats 1 <&-'
    node = subprocess.Popen(["/bin/sh", "-c", host], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "control.sock").exists():
            assert node.poll() is None, node.communicate()[1]
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.05)
    finally:
        node.terminate()
        _, errors = node.communicate()
    assert "Traceback" not in errors
