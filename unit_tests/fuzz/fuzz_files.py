"""Targets for what is read from files: sysfs, model files, code objects, dumps of rings."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import tempfile
from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from fuzz_mutation import NUMBERS, mutated_bytes, mutated_text
from fuzz_runner import Done, outcome

from pytest_amdgpu.abi.drm import AmdgpuInfo
from pytest_amdgpu.commands import capture, decode
from pytest_amdgpu.devices.hardware import examine_hardware
from pytest_amdgpu.devices.identity import hardware_devices
from pytest_amdgpu.devices.selection import DeviceSelectionError, select_devices
from pytest_amdgpu.driver import code_object
from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.families.models import DATA, load_model, model, model_names
from pytest_amdgpu.families.registry import FAMILIES, UnknownFamilyError
from pytest_amdgpu.kernel.protocol import Argument, Kernel, KernelError

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
ERRORS = (errno.ENOENT, errno.EPERM, errno.EACCES, errno.EIO, errno.ENODEV, errno.EINVAL, errno.ENOTDIR)
SYSFS_REFUSALS = (
    *(DeviceOpenError, KernelError, UnknownFamilyError),
    *(capture.CaptureError, DeviceSelectionError, ModelFileError),
)


class RecordedSysfs:
    """A kernel boundary of recorded files, any of which may have another content or answer an error."""

    name = "hardware"

    def __init__(self, kernel: Kernel, *roots: str) -> None:
        self.files: MutableMapping[str, str | int] = {}
        self.directories: MutableMapping[str, list[str] | int] = {}
        self.kernel = kernel
        self.random: random.Random | None = None
        """Decides which queries of the device fail or answer nonsense; None: none of them."""
        self.changed_paths: set[str] = set()
        self.read_paths: set[str] = set()
        for root in roots:
            self._record(kernel, root)

    def _record(self, kernel: Kernel, path: str) -> None:
        try:
            names = kernel.listdir(path)
        except KernelError:
            self.files[path] = kernel.read_text(path)
            return
        self.directories[path] = names
        for name in names:
            self._record(kernel, f"{path}/{name}")

    def add(self, directory: str, files: dict[str, str]) -> None:
        """Add a directory with files."""
        parent, _, name = directory.rpartition("/")
        self.directories[parent] = [name]
        self.directories[directory] = list(files)
        self.files |= {f"{directory}/{file}": content for file, content in files.items()}

    def changed(self, rng: random.Random, among: Sequence[str]) -> RecordedSysfs:
        """Return a copy with a few changes to some of the given files and directories."""
        other = RecordedSysfs.__new__(RecordedSysfs)
        other.files, other.directories = ChainMap({}, self.files), ChainMap({}, self.directories)
        other.kernel = self.kernel
        other.random, other.changed_paths, other.read_paths = rng, set(), set()
        for _ in range(rng.choice((1, 1, 2, 3))):
            other._change(rng, rng.choice(among))
        return other

    @property
    def taken(self) -> int:
        """How many of the changed files and directories were read."""
        return len(self.changed_paths & self.read_paths)

    def _change(self, rng: random.Random, path: str) -> None:
        self.changed_paths.add(path)
        content = self.files.get(path)
        if content is not None:
            broken = rng.random() < 0.15 or isinstance(content, int)
            self.files[path] = rng.choice(ERRORS) if broken else mutated_text(rng, str(content))
            return
        listed = self.directories[path]
        if isinstance(listed, int) or rng.random() < 0.2:
            self.directories[path] = rng.choice(ERRORS)
        elif listed and rng.random() < 0.5:
            self.directories[path] = [name for name in listed if name != rng.choice(listed)]
        else:
            self.directories[path] = [*listed, rng.choice(NUMBERS)]

    def __contains__(self, path: str) -> bool:
        return path in self.files or path in self.directories

    def listdir(self, path: str) -> list[str]:
        self.read_paths.add(path)
        listed = self.directories.get(path, errno.ENOENT)
        if isinstance(listed, int):
            raise KernelError(listed, "listdir", repr(path))
        return list(listed)

    def read_text(self, path: str) -> str:
        self.read_paths.add(path)
        content = self.files.get(path, errno.ENOENT)
        if isinstance(content, int):
            raise KernelError(content, "read", repr(path))
        return content

    def open(self, path: str, flags: int) -> int:
        if self.random is not None and self.random.random() < 0.1:
            raise KernelError(self.random.choice(ERRORS), "open", repr(path))
        return self.kernel.open(path, flags)

    def close(self, fd: int) -> None:
        self.kernel.close(fd)

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        """Answer AMDGPU_INFO; on a changed machine also with an error or nonsense."""
        assert isinstance(argument, AmdgpuInfo)
        kind = 1.0 if self.random is None else self.random.random()
        if kind < 0.05:
            raise KernelError(errno.EINVAL, "DRM_IOCTL_AMDGPU_INFO", "")
        if self.random is None or kind > 0.15:
            return self.kernel.ioctl(fd, request, argument)
        answer = self.random.randbytes(argument.return_size)
        ctypes.memmove(argument.return_pointer, answer, len(answer))
        return 0


class _FileTarget:
    """Writes mutated content to a file and has it read."""

    name: str
    limit = 60.0
    unit = "inputs"

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name) / "mutated"

    def _write(self, content: bytes) -> Path:
        self._path.write_bytes(content)
        return self._path

    def close(self) -> None:
        """Remove the file."""
        self._directory.cleanup()


class SysfsTarget(_FileTarget):
    """Finding, describing, choosing and capturing GPUs on machines whose sysfs is damaged."""

    name = "sysfs"
    unit = "changed files read"

    def __init__(self) -> None:
        super().__init__()
        self._machines = []
        self._uses = (self._examine, self._describe, self._capture)
        for machine in (["mi300x"], ["rx7900xtx", "r9700"], ["strixhalo"]):
            kernel = EmulatedKernel([model(name) for name in machine])
            sysfs = RecordedSysfs(kernel, "/sys/devices/virtual/kfd/kfd/topology", "/sys/class/drm")
            sysfs.add("/sys/bus/pci/devices/0000:03:00.0", {"vendor": "0x1002\n", "class": "0x030000\n"})
            read = []
            for use in self._uses:
                sysfs.read_paths.clear()
                use(sysfs)  # type: ignore[arg-type]
                known = [path for path in sorted(sysfs.read_paths) if path in sysfs]
                # Hundreds of caches are like each other.
                plain = [path for path in known if "/caches/" not in path]
                read.append((use, known, plain))
            self._machines.append((sysfs, read))

    def case(self, rng: random.Random) -> Done:
        machine, uses = rng.choice(self._machines)
        # Reading all of a machine takes twenty times as long as the rest.
        use, known, plain = rng.choices(uses, (3, 3, 1))[0]
        sysfs = machine.changed(rng, plain if rng.random() < 0.95 else known)
        kind = outcome(lambda: use(sysfs), *SYSFS_REFUSALS)  # type: ignore[arg-type]
        return Done([f"{use.__name__[1:]}: {kind}"], len(sysfs.changed_paths), sysfs.taken)

    def _examine(self, sysfs: Kernel) -> None:
        report = examine_hardware(sysfs, group_of=lambda path: "render")
        for obstacle in report.obstacles:
            assert str(obstacle).strip()
        hardware_devices(report.nodes)

    def _describe(self, sysfs: Kernel) -> None:
        nodes = discover(sysfs)
        for node in nodes:
            for name in (
                "family",
                "identity",
                "unique_id",
                "vram_bytes",
                "large_bar",
                "sramecc",
                "render_path",
            ):
                getattr(node, name)
        select_devices(hardware_devices(nodes), ["0"], all_devices=False)

    def _capture(self, sysfs: Kernel) -> None:
        """Make a model file, which says itself what of it makes no sense together."""
        load_model(self._write(capture.model_text(sysfs, capture.choose(sysfs, None)).encode()))

    def close(self) -> None:
        """Shut the machines down, and remove the file."""
        for machine, _ in self._machines:
            machine.kernel.shutdown()  # type: ignore[attr-defined]
        super().close()


class ModelTarget(_FileTarget):
    """Model files; what is accepted must make a software GPU."""

    name = "models"

    def __init__(self) -> None:
        super().__init__()
        self._texts = [(DATA / f"{name}.toml").read_text() for name in model_names()]

    def case(self, rng: random.Random) -> Done:
        text = mutated_text(rng, rng.choice(self._texts))
        path = self._write(text.encode("utf-8", "surrogatepass"))
        return Done([outcome(lambda: self._use(path), ModelFileError)])

    def _use(self, path: Path) -> None:
        kernel = EmulatedKernel([load_model(path)])
        try:
            for node in discover(kernel):
                kernel.close(kernel.open(node.render_path, os.O_RDWR))
        finally:
            kernel.shutdown()


class CodeObjectTarget(_FileTarget):
    """Code objects, parsed and relocated."""

    name = "code-objects"

    def __init__(self) -> None:
        super().__init__()
        self._objects = [path.read_bytes() for path in sorted(OBJECTS.glob("*/*.co"))]

    def case(self, rng: random.Random) -> Done:
        # The headers are at the start, notes and symbols behind them, sections' headers at the end.
        data = rng.choice(self._objects)
        places = [*range(0x400), *range(len(data) - 0x600, len(data))]
        changed = mutated_bytes(rng, data, places)
        return Done([outcome(lambda: self._use(changed), code_object.CodeObjectError)])

    def _use(self, data: bytes) -> None:
        parsed = code_object.parse(data, "mutated")
        if parsed.image_size < 1 << 24:
            image = memoryview(bytearray(parsed.image_size))
            code_object.relocate(image, parsed.relocations, 0x7F00_0000_0000, "mutated")
        for kernel in parsed.kernels.values():
            assert kernel.signature


class DumpTarget(_FileTarget):
    """Dumps of rings for the command `decode`: binary and text, all engines and targets."""

    name = "dumps"
    _text = "0: 00000001 0x00000fff, 00000000 56789abc\n10: c0031500 1 2 3 8005\n"

    def case(self, rng: random.Random) -> Done:
        if rng.random() < 0.5:
            words = [rng.getrandbits(32) if rng.random() < 0.4 else rng.randrange(32) for _ in range(24)]
            content = b"".join(word.to_bytes(4, "little") for word in words)
            content = content[: rng.randrange(len(content))] if rng.random() < 0.2 else content
        else:
            content = mutated_text(rng, self._text).encode("utf-8", "surrogatepass")
        path = self._write(content)
        target = rng.choice(FAMILIES).name if rng.random() < 0.95 else rng.choice(NUMBERS)
        engine = rng.choice(decode.ENGINES)
        return Done(
            [
                outcome(
                    lambda: list(decode.lines(path, target, engine)), decode.DecodeError, UnknownFamilyError
                )
            ]
        )
