"""Mends from outside what execnet 2.1.2 does not do for a run over several hosts.

It waits for ever for another end that takes a connection and does not answer.

A socket server of it runs what one connection asks for in its own process, and until that has ended nobody
else is served: neither a second worker nor who asks for GPUs beside it; and a test that kills its worker ends
it. So the first thing that it is asked for here is to hand the connection over to a new process.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import execnet
    from execnet.gateway_base import ExecModel
    from execnet.gateway_socket import SocketIO

TIMEOUT = 120.0
"""Seconds that the other end of a gateway has to answer for the first time."""
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
    _give_up_in_time(config)
    _give_each_a_process(config)


def _give_up_in_time(config: pytest.Config) -> None:
    from execnet import gateway_bootstrap

    own = gateway_bootstrap.bootstrap

    def bootstrap(io: Any, spec: execnet.XSpec) -> execnet.Gateway:
        """Start the other end; raises OSError."""
        late = threading.Event()
        no_answer = f"it did not answer within {TIMEOUT:g} s"

        def give_up() -> None:
            late.set()
            end(io)

        timer = threading.Timer(TIMEOUT, give_up)
        timer.daemon = True
        timer.start()
        try:
            gateway = own(io, spec)
        except EOFError as error:
            if late.is_set():
                raise ConnectionError(no_answer) from error
            raise
        finally:
            timer.cancel()
        # With some exit statuses of what was started it does not tell that this has ended.
        if late.is_set():
            raise ConnectionError(no_answer)
        return gateway

    def undo() -> None:
        gateway_bootstrap.bootstrap = own

    gateway_bootstrap.bootstrap = bootstrap
    config.add_cleanup(undo)


def end(io: Any) -> None:
    """End the connection of a gateway, whoever still answers at its other end."""
    if hasattr(io, "sock"):
        with contextlib.suppress(OSError):
            io.sock.shutdown(socket.SHUT_RDWR)
    else:
        io.kill()


def _give_each_a_process(config: pytest.Config) -> None:
    from execnet import gateway_socket

    own = gateway_socket.create_io

    def create_io(spec: execnet.XSpec, group: execnet.Group, execmodel: ExecModel) -> SocketIO:
        """Connect; raises OSError."""
        io = own(spec, group, execmodel)
        io.sock.settimeout(TIMEOUT)
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
