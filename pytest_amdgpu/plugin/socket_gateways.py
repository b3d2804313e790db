"""Lets each gateway to a socket server of execnet have a process of its own.

The server runs what one connection asks for in its own process, and until that has ended nobody else is
served: neither a second worker nor who asks for GPUs beside it; and a test that kills its worker ends it. So
the first thing that it is asked for here is to hand the connection over to a new process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import execnet
    from execnet.gateway_base import ExecModel
    from execnet.gateway_socket import SocketIO

_TIMEOUT = 60.0
"""Seconds that a server and the new process have to take a connection."""
_TAKE_OVER = """
import socket, sys
from execnet.gateway_base import get_execmodel
clientsock = socket.socket(fileno=int(sys.argv[1]))
clientsock.sendall(b"1")
given = {"clientsock": clientsock, "execmodel": get_execmodel(sys.argv[2])}
exec(eval(clientsock.makefile("rb", 0).readline()), given)
"""
"""The program of the new process: it does with its connection what the server would have done.

The server runs tests in a thread, where no signal arrives; the gateway knows better.
"""
_HAND_OVER = """
import subprocess, sys
number = clientsock.fileno()
subprocess.Popen([sys.executable, "-c", {program!r}, str(number), {execmodel!r}], pass_fds=[number])
clientsock.close()
"""


def use(config: pytest.Config) -> None:
    """Make all gateways in this way, as long as the run lasts."""
    from execnet import gateway_socket

    own = gateway_socket.create_io

    def create_io(spec: execnet.XSpec, group: execnet.Group, execmodel: ExecModel) -> SocketIO:
        """Connect; raises OSError."""
        io = own(spec, group, execmodel)
        io.sock.settimeout(_TIMEOUT)
        try:
            program = _HAND_OVER.format(program=_TAKE_OVER, execmodel=spec.execmodel)
            io.write(f"{program!r}\n".encode())
            taken = io.read(1)
        except (EOFError, OSError) as error:
            raise ConnectionError(
                f"nobody serves it there ({type(error).__name__}: {error}); is that a socket server of"
                " execnet, and is it free?"
            ) from error
        if taken != b"1":
            raise ConnectionError(f"what answers there is no socket server of execnet: {taken!r}")
        io.sock.settimeout(None)
        return io

    def undo() -> None:
        gateway_socket.create_io = own

    gateway_socket.create_io = create_io
    config.add_cleanup(undo)
