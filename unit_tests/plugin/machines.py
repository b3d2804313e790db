"""Other machines for tests of runs over several hosts, which ssh reaches: a real client and a real sshd.

sshd is started by the client's ProxyCommand for each connection (`sshd -i`), so that there is no port, and
nothing runs when no run does. Where the kernel lets us, a machine also has namespaces of its own: another
host name, boot id, network, /run (with the leases) and processes, which all end at once when it is switched
off.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_NAMESPACES = [
    *("unshare", "--mount", "--uts", "--ipc", "--net"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
]
_SET_UP = """
set -e
hostname {name}
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/sshd
mount --bind {boot_id} /proc/sys/kernel/random/boot_id
echo up
exec cat
"""
"""What makes a machine of a process with such namespaces. It ends with its standard input."""


class Machines:
    """Machines that `--tx` reaches, with what ssh needs for that in a directory."""

    def __init__(self, directory: Path, sshd: str) -> None:
        """`sshd` is its whole path, without which it does not start."""
        directory.mkdir(mode=0o700)
        self.directory, self._sshd = directory, sshd
        self._machines: list[Machine] = []
        for key in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", directory / key],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        (directory / "known_hosts").write_text("* " + (directory / "host_key.pub").read_text())
        self.config = directory / "ssh_config"
        self.config.touch()

    def add(self, name: str) -> Machine:
        """Have one more machine."""
        machine = Machine(name, self.directory)
        self._machines.append(machine)
        enter = f"nsenter --target {machine.pid} --all " if machine.is_separate else ""
        if os.geteuid() == 0:
            # sshd wants it if it is root's; the script that mostly starts it makes it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        server = self.directory / f"{name}.sshd"
        server.write_text(
            f"HostKey {self.directory}/host_key\n"
            f"AuthorizedKeysFile {self.directory}/user_key.pub\n"
            "StrictModes no\nUsePAM no\nPrintMotd no\nLogLevel ERROR\n"
            f"SetEnv PYTHONPATH={_ROOT}\n"
        )
        with self.config.open("a") as file:
            file.write(
                f"Host {name}\n"
                f"  User {getpass.getuser()}\n"
                f"  IdentityFile {self.directory}/user_key\n"
                "  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {self.directory}/known_hosts\n"
                "  GlobalKnownHostsFile /dev/null\n"
                "  StrictHostKeyChecking yes\n"
                "  BatchMode yes\n"
                "  LogLevel ERROR\n"
                f"  ProxyCommand {enter}{self._sshd} -i -f {server}\n"
            )
        return machine

    def gateway(self, name: str, *parts: str, python: str = sys.executable) -> str:
        """Return the text of a gateway to a machine, for `--tx`, to a directory of the machine's own."""
        directory = self.directory / name
        return "//".join(
            [f"ssh={name}", f"ssh_config={self.config}", f"python={python}", f"chdir={directory}", *parts]
        )

    def end(self) -> None:
        """Switch all of them off."""
        for machine in self._machines:
            machine.switch_off()


class Machine:
    """One of them."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.pid, self.why_not_separate = name, 0, ""
        boot_id = directory / f"{name}.boot_id"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        script = _SET_UP.format(name=name, boot_id=boot_id)
        self._process = subprocess.Popen(
            [*_NAMESPACES, "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() == "up\n":
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            self.pid = int(children)
        else:
            _, error = self._process.communicate()
            self.why_not_separate = f"no namespaces can be made: {error.strip()}"

    @property
    def is_separate(self) -> bool:
        """Whether it has namespaces of its own."""
        return not self.why_not_separate

    @property
    def host_name(self) -> str:
        """What it calls itself."""
        return self.name if self.is_separate else socket.gethostname()

    def freeze(self) -> None:
        """Let none of its processes run any more; their connections stay."""
        enter = ["nsenter", "--target", str(self.pid), "--pid", "--mount"]
        # To all that there are in the namespace but its first process.
        subprocess.run([*enter, "sh", "-c", "kill -s STOP -- -1"], check=True)

    def switch_off(self) -> None:
        """End all its processes at once, as a power cut does."""
        if self.is_separate and self._process.poll() is None:
            # The kernel ends a PID namespace with its first process.
            os.kill(self.pid, signal.SIGKILL)
            # It is not gone before who entered it has taken note of that, and nsenter stops with its child.
            for entrance in self._entrances():
                os.kill(entrance, signal.SIGCONT)
            self._process.communicate()

    def _entrances(self) -> Iterator[int]:
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"nsenter\0--target\0{self.pid}\0" in (directory / "cmdline").read_text(errors="replace"):
                    yield int(directory.name)
