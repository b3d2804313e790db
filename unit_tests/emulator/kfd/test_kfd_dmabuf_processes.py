"""dma-bufs between processes: the same pages, how long they live, and which descriptors are refused."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kfd_client import GTT, MAP_SHARED, PAGE, PROT_RW, WRITABLE_VRAM, Client

from pytest_amdgpu.abi.kfd import AllocFlag, KfdIoctl
from pytest_amdgpu.kernel.protocol import KernelError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

CHILD = """
import ctypes, os, socket, sys
from kfd_client import Client, PAGE, PROT_RW, MAP_SHARED
from pytest_amdgpu.abi.kfd import KfdIoctl

models = sys.argv[2].split(",")
control = socket.socket(fileno=int(sys.argv[1]))
_, fds, _, _ = socket.recv_fds(control, 1, 1)
fd = fds[0]
client = Client(models)
gpu_id = client.gpus[-1].gpu_id
info = client.call(KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=fd)
print(info.size, info.gpu_id, int(info.flags), flush=True)
args = client.call(
    KfdIoctl.IMPORT_DMABUF, va_addr=client.reserve(info.size), gpu_id=gpu_id, dmabuf_fd=fd
)
address = client.kernel.mmap(0, info.size, PROT_RW, MAP_SHARED, fd, 0)
client.map(args.handle, len(client.gpus) - 1)
space = client.process.devices[gpu_id].space
again = client.call(KfdIoctl.EXPORT_DMABUF, handle=args.handle, flags=os.O_CLOEXEC).dmabuf_fd
client.kernel.close(fd)
while order := control.recv(100).decode():
    if order == "read":
        print(ctypes.string_at(address, 4).decode(), space.read(args.va_addr + PAGE, 4).decode(), flush=True)
    elif order == "write":
        ctypes.memmove(address, b"from", 4)
        space.write(args.va_addr + PAGE, b"GPU!")
        print("written", flush=True)
    elif order == "send":
        socket.send_fds(control, [b"x"], [again])
        client.kernel.close(again)
        print("sent", flush=True)
    elif order == "free":
        client.unmap(args.handle, len(client.gpus) - 1)
        client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
        client.kernel.munmap(address, info.size)
        print("freed", flush=True)
"""


class Other:
    """Another process with an emulated kernel of its own, which has imported a dma-buf."""

    def __init__(self, fd: int, *models: str) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(theirs.fileno()), ",".join(models)],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{HERE}"},
                stdout=subprocess.PIPE,
                text=True,
            )
        socket.send_fds(self.control, [b"x"], [fd])
        self.info = [int(part) for part in self.line().split()]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, order: str) -> str:
        self.control.send(order.encode())
        return self.line()

    def end(self) -> None:
        self.control.close()
        self.process.communicate(timeout=60)


@pytest.fixture
def other() -> Iterator[Callable[..., Other]]:
    """Return a function that starts another process with a dma-buf."""
    made: list[Other] = []

    def start(fd: int, *models: str) -> Other:
        made.append(Other(fd, *models))
        return made[-1]

    yield start
    for one in made:
        one.end()
        assert one.process.returncode == 0


StartOther = Callable[..., Other]


def export(client: Client, handle: int, flags: int = os.O_CLOEXEC) -> int:
    fd: int = client.call(KfdIoctl.EXPORT_DMABUF, handle=handle, flags=flags).dmabuf_fd
    return fd


def free(client: Client, args: object) -> None:
    client.unmap(args.handle)  # type: ignore[attr-defined]
    client.kernel.munmap(args.va_addr, args.size)  # type: ignore[attr-defined]
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)  # type: ignore[attr-defined]


@pytest.mark.parametrize("flags", [WRITABLE_VRAM, GTT], ids=["vram", "gtt"])
def test_another_process_has_the_same_pages(client: Client, other: StartOther, flags: AllocFlag) -> None:
    unrelated, source = client.buffer(PAGE), client.buffer(2 * PAGE, flags)
    fd = export(client, source.handle)
    child = other(fd, "rx7900xtx")
    placed = AllocFlag.VRAM | AllocFlag.PUBLIC if flags is WRITABLE_VRAM else AllocFlag.GTT
    assert child.info == [2 * PAGE, client.gpu_id, placed]
    ctypes.memmove(source.va_addr, b"here", 4)
    ctypes.memmove(source.va_addr + PAGE, b"page", 4)
    assert child.do("read") == "here page"
    child.do("write")
    assert ctypes.string_at(source.va_addr, 4) == b"from"
    assert client.process.devices[client.gpu_id].space.read(source.va_addr + PAGE, 4) == b"GPU!"
    assert ctypes.string_at(unrelated.va_addr, 4) == bytes(4)


def test_the_importer_keeps_the_pages_and_gives_them_back(client: Client, other: StartOther) -> None:
    source = client.buffer(2 * PAGE)
    ctypes.memmove(source.va_addr, b"here", 4)
    ctypes.memmove(source.va_addr + PAGE, b"page", 4)
    fd = export(client, source.handle)
    child = other(fd, "rx7900xtx")
    client.kernel.close(fd)
    free(client, source)
    arena = client.kernel._machine.arena
    assert arena.resident() >= 2 * PAGE
    later = client.buffer(2 * PAGE)
    ctypes.memset(later.va_addr, 0x55, 2 * PAGE)
    assert child.do("read") == "here page"
    free(client, later)
    child.end()
    assert arena.resident() == 0


def test_the_exporter_keeps_the_pages(client: Client, other: StartOther) -> None:
    source = client.buffer(2 * PAGE)
    ctypes.memmove(source.va_addr, b"here", 4)
    fd = export(client, source.handle)
    child = other(fd, "rx7900xtx")
    client.kernel.close(fd)
    assert child.do("free") == "freed"
    child.end()
    assert ctypes.string_at(source.va_addr, 4) == b"here"


def test_memory_goes_from_process_to_process(client: Client, other: StartOther) -> None:
    source = client.buffer(2 * PAGE)
    ctypes.memmove(source.va_addr, b"here", 4)
    ctypes.memmove(source.va_addr + PAGE, b"page", 4)
    fd = export(client, source.handle)
    first = other(fd, "rx7900xtx")
    client.kernel.close(fd)
    free(client, source)
    assert first.do("send") == "sent"
    _, (received,), _, _ = socket.recv_fds(first.control, 1, 1)
    second = other(received, "rx7900xtx")
    os.close(received)
    first.end()
    assert second.do("read") == "here page"


def test_a_peer_in_another_process(make_client: Callable[..., Client], other: StartOther) -> None:
    client = make_client("mi300x", "mi300x")
    source = client.buffer(2 * PAGE)
    ctypes.memmove(source.va_addr, b"here", 4)
    ctypes.memmove(source.va_addr + PAGE, b"page", 4)
    child = other(export(client, source.handle), "mi300x", "mi300x")
    assert child.do("read") == "here page"


def test_a_copy_of_an_own_descriptor_is_the_same_memory(client: Client) -> None:
    source = client.buffer(PAGE)
    fd = export(client, source.handle)
    copy = os.dup(fd)
    client.kernel.close(fd)
    info = client.call(KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=copy)
    assert (info.size, info.gpu_id) == (PAGE, client.gpu_id)
    address = client.kernel.mmap(0, PAGE, PROT_RW, MAP_SHARED, copy, 0)
    ctypes.memset(address, 0x37, 1)
    assert ctypes.string_at(source.va_addr, 1) == b"7"
    client.kernel.munmap(address, PAGE)
    free(client, source)
    assert client.kernel._machine.arena.resident() > 0
    client.kernel.close(copy)
    assert client.kernel._machine.arena.resident() == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(copy)


@pytest.mark.usefixtures("engines")
def test_memory_of_a_gpu_that_is_not_here_einval(make_client: Callable[..., Client]) -> None:
    exporter, importer = make_client("mi300x"), make_client("rx7900xtx")
    fd = os.dup(export(exporter, exporter.alloc().handle))
    fields = {"va_addr": importer.reserve(PAGE), "gpu_id": importer.gpu_id, "dmabuf_fd": fd}
    importer.refused(errno.EINVAL, KfdIoctl.IMPORT_DMABUF, **fields)
    importer.refused(errno.EINVAL, KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=fd)
    os.close(fd)


@pytest.mark.parametrize("damage", ["position", "content", "end"])
def test_a_descriptor_without_a_record_einval(client: Client, damage: str) -> None:
    fd = os.dup(export(client, client.buffer().handle))
    position = os.lseek(fd, 0, os.SEEK_CUR)
    if damage == "position":
        os.lseek(fd, position + 8, os.SEEK_SET)
    elif damage == "content":
        os.pwrite(fd, b"\x99", position + 40)
    else:
        os.lseek(fd, 0, os.SEEK_END)
    client.refused(errno.EINVAL, KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=fd)
    os.close(fd)


def test_a_file_of_another_name_is_no_dma_buf_einval(client: Client) -> None:
    fd = os.memfd_create("something")
    client.refused(errno.EINVAL, KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=fd)
    with pytest.raises(KernelError, match="EBADF"):
        client.kernel.mmap(0, PAGE, PROT_RW, MAP_SHARED, fd, 0)
    os.close(fd)


def test_shutdown_leaves_what_others_have(make_client: Callable[..., Client], other: StartOther) -> None:
    client = make_client()
    source = client.buffer(2 * PAGE)
    ctypes.memmove(source.va_addr, b"here", 4)
    ctypes.memmove(source.va_addr + PAGE, b"page", 4)
    child = other(export(client, source.handle), "rx7900xtx")
    client.close()
    assert child.do("read") == "here page"


def test_locks_are_those_of_the_description(client: Client) -> None:
    """What keeps the pages is a read lock on just their range, which any other description can see."""
    source = client.buffer(2 * PAGE)
    fd = export(client, source.handle)
    arena = client.kernel._machine.arena
    (bo,) = [
        bo for bo in client.process.devices[client.gpu_id].objects.values() if bo.handle == source.handle
    ]
    assert bo.memory is not None
    with open(f"/proc/self/fd/{arena.fd}", "rb+") as file:
        with pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, bo.memory.offset)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, bo.memory.offset + 2 * PAGE + PAGE)
        client.kernel.close(fd)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, bo.memory.offset)


@pytest.fixture
def importer(make_client: Callable[..., Client]) -> Client:
    """A client of another kernel, to which a descriptor comes from outside."""
    return make_client("rx7900xtx")


def fail_with(number: int) -> Callable[..., int]:
    def fail(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_import_that_the_host_cannot_map_enomem(
    client: Client, importer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = export(client, client.buffer().handle)
    fields = {"va_addr": importer.reserve(PAGE), "gpu_id": importer.gpu_id, "dmabuf_fd": fd}
    with monkeypatch.context() as patch:
        patch.setattr("pytest_amdgpu.emulator.dmabuf.map_shared", fail_with(errno.ENOMEM))
        importer.refused(errno.ENOMEM, KfdIoctl.IMPORT_DMABUF, **fields)
    importer.call(KfdIoctl.IMPORT_DMABUF, **fields)


def test_export_of_imported_memory_descriptor_table_full_emfile(
    client: Client, importer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = export(client, client.buffer().handle)
    fields = {"va_addr": importer.reserve(PAGE), "gpu_id": importer.gpu_id, "dmabuf_fd": fd}
    handle = importer.call(KfdIoctl.IMPORT_DMABUF, **fields).handle
    monkeypatch.setattr("os.dup", fail_with(errno.EMFILE))
    assert importer.refused(errno.EMFILE, KfdIoctl.EXPORT_DMABUF, handle=handle).dmabuf_fd == 0


def test_open_descriptor_table_full_emfile(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.memfd_create", fail_with(errno.EMFILE))
    with pytest.raises(KernelError, match="EMFILE"):
        client.kernel.open("/dev/kfd", os.O_RDWR)
