"""Targets for what is read from files: sysfs, model files, code objects, dumps of rings."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import tempfile
from pathlib import Path

from fuzz_mutation import NUMBERS, mutated_bytes, mutated_text
from fuzz_runner import outcome

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
        self.files: dict[str, str | int] = {}
        self.directories: dict[str, list[str] | int] = {}
        self.random = random.Random(0)
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

    def changed(self, rng: random.Random) -> RecordedSysfs:
        """Return a copy with a few changes."""
        other = RecordedSysfs.__new__(RecordedSysfs)
        other.files, other.directories, other.random = dict(self.files), dict(self.directories), rng
        for _ in range(rng.choice((1, 1, 2, 3))):
            other._change(rng)
        return other

    def _change(self, rng: random.Random) -> None:
        kind = rng.random()
        if kind < 0.75:
            # Hundreds of caches are read by `capture` only.
            names = [path for path in self.files if "/caches/" not in path or rng.random() < 0.05]
            path = rng.choice(names)
            content = self.files[path]
            broken = rng.random() < 0.15 or isinstance(content, int)
            self.files[path] = rng.choice(ERRORS) if broken else mutated_text(rng, str(content))
            return
        path = rng.choice(list(self.directories))
        listed = self.directories[path]
        if isinstance(listed, int) or rng.random() < 0.2:
            self.directories[path] = rng.choice(ERRORS)
        elif listed and rng.random() < 0.5:
            self.directories[path] = [name for name in listed if name != rng.choice(listed)]
        else:
            self.directories[path] = [*listed, rng.choice(NUMBERS)]

    def listdir(self, path: str) -> list[str]:
        listed = self.directories.get(path, errno.ENOENT)
        if isinstance(listed, int):
            raise KernelError(listed, "listdir", repr(path))
        return list(listed)

    def read_text(self, path: str) -> str:
        content = self.files.get(path, errno.ENOENT)
        if isinstance(content, int):
            raise KernelError(content, "read", repr(path))
        return content

    def open(self, path: str, flags: int) -> int:
        if self.random.random() < 0.1:
            raise KernelError(self.random.choice(ERRORS), "open", repr(path))
        return 1000

    def close(self, fd: int) -> None:
        assert fd == 1000

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        """Answer AMDGPU_INFO with anything."""
        assert isinstance(argument, AmdgpuInfo)
        if self.random.random() < 0.05:
            raise KernelError(errno.EINVAL, "DRM_IOCTL_AMDGPU_INFO", "")
        answer = self.random.randbytes(argument.return_size) if self.random.random() < 0.5 else b""
        ctypes.memmove(argument.return_pointer, answer, len(answer))
        return 0


class _FileTarget:
    """Writes mutated content to a file and has it read."""

    name: str
    limit = 5.0
    per_case = 1

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

    def __init__(self) -> None:
        super().__init__()
        self._machines = []
        for machine in (["mi300x"], ["rx7900xtx", "r9700"], ["strixhalo"]):
            kernel = EmulatedKernel([model(name) for name in machine])
            sysfs = RecordedSysfs(kernel, "/sys/devices/virtual/kfd/kfd/topology", "/sys/class/drm")
            sysfs.add("/sys/bus/pci/devices/0000:03:00.0", {"vendor": "0x1002\n", "class": "0x030000\n"})
            self._machines.append(sysfs)
            kernel.shutdown()

    def case(self, rng: random.Random) -> str:
        sysfs: Kernel = rng.choice(self._machines).changed(rng)  # type: ignore[assignment]
        use = rng.choice((self._examine, self._describe, self._capture))
        return f"{use.__name__[1:]}: {outcome(lambda: use(sysfs), *SYSFS_REFUSALS)}"

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


class ModelTarget(_FileTarget):
    """Model files; what is accepted must make a software GPU."""

    name = "models"

    def __init__(self) -> None:
        super().__init__()
        self._texts = [(DATA / f"{name}.toml").read_text() for name in model_names()]

    def case(self, rng: random.Random) -> str:
        text = mutated_text(rng, rng.choice(self._texts))
        path = self._write(text.encode("utf-8", "surrogatepass"))
        return outcome(lambda: self._use(path), ModelFileError)

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

    def case(self, rng: random.Random) -> str:
        # The headers are at the start, notes and symbols behind them, sections' headers at the end.
        data = rng.choice(self._objects)
        places = [*range(0x400), *range(len(data) - 0x600, len(data))]
        return outcome(lambda: self._use(mutated_bytes(rng, data, places)), code_object.CodeObjectError)

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

    def case(self, rng: random.Random) -> str:
        if rng.random() < 0.5:
            words = [rng.getrandbits(32) if rng.random() < 0.4 else rng.randrange(32) for _ in range(24)]
            content = b"".join(word.to_bytes(4, "little") for word in words)
            content = content[: rng.randrange(len(content))] if rng.random() < 0.2 else content
        else:
            content = mutated_text(rng, self._text).encode("utf-8", "surrogatepass")
        path = self._write(content)
        target = rng.choice(FAMILIES).name if rng.random() < 0.95 else rng.choice(NUMBERS)
        engine = rng.choice(decode.ENGINES)
        return outcome(
            lambda: list(decode.lines(path, target, engine)), decode.DecodeError, UnknownFamilyError
        )
