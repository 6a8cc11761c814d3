"""The cache shared over SSH: what one has trained, another pulls and does not train again. See docs/how/cache.md."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Project, make_project

from nas.pipeline.files import sha256

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SSHD, reason="no SSH server is installed: apt-get install openssh-server"),
    pytest.mark.skipif(not find_spec("dvc_ssh"), reason="dvc-ssh is not installed: pip install .[ssh]"),
]

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


@dataclass
class Server:
    port: int
    key: Path  # the user's, private
    store: Path

    @property
    def url(self) -> str:
        return f"ssh://127.0.0.1:{self.port}{self.store}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An SSH server of our own on loopback, for the current user with a key of the test's."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config").write_text(CONFIG.format(folder=folder, port=port))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it for root
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=10).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
        yield Server(port, folder / "user", tmp_path / "store")
    finally:
        process.terminate()
        process.wait()


def clone(project: Project, folder: Path, server: Server) -> Project:
    """Of another user: git's content, an empty cache, and credentials of her own."""
    project.run("git", "clone", "-q", ".", str(folder))
    other = Project(folder)
    sign_in(other, server)
    return other


def sign_in(project: Project, server: Server) -> None:
    project.run("dvc", "remote", "modify", "--local", "store", "user", getpass.getuser())
    project.run("dvc", "remote", "modify", "--local", "store", "keyfile", str(server.key))


def test_what_one_pushed_another_pulls_and_runs_only_what_is_new(server: Server, tmp_path: Path) -> None:
    first = make_project(tmp_path / "first")
    first.set(evaluate={"genotypes": ["darts"], "epochs": 1}, slim={"models": []}, gradcam={"networks": []})
    assert {"search@darts-darts-0", "evaluate@darts-2-0"} < set(first.repro())
    first.run("dvc", "remote", "add", "-d", "store", server.url)
    first.run("dvc", "remote", "modify", "store", "verify", "true")
    first.commit("results and where their files are")
    assert first.run("dvc", "push", check=False).returncode != 0  # nobody signed in
    sign_in(first, server)
    assert first.run("git", "status", "--porcelain").stdout == ""  # credentials stay out of git
    first.run("dvc", "push")

    second = clone(first, tmp_path / "second", server)
    second.run("dvc", "pull")
    weights = "models/evaluate/darts-2-0.safetensors"
    assert (second.folder / weights).read_bytes() == (first.folder / weights).read_bytes()
    assert second.repro() == []
    second.set(evaluate={"epochs": 2})
    assert set(second.repro()) == {"code", "evaluate@darts-2-0", "report"}
    assert not list(second.folder.glob("logs/search*"))
    second.run("dvc", "push")
    second.commit("two epochs")

    # dvc.lock, which git holds, tells a file that is not what was pushed.
    third = clone(second, tmp_path / "third", server)
    files = [file for file in server.store.rglob("*") if file.is_file()]
    (damaged,) = (file for file in files if sha256(file) == sha256(second.folder / weights))
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    done = third.run("dvc", "pull", check=False)
    assert done.returncode != 0 and weights in done.stderr, done.stderr
    assert not (third.folder / weights).exists()
