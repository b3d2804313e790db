"""The fixtures. The first line of each docstring stands alone in `pytest --fixtures`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

import pytest

from pytest_amdgpu.plugin.blame import NOT_APPLICABLE
from pytest_amdgpu.plugin.confirming.twins import twin_of_key
from pytest_amdgpu.plugin.injection import inject_by_hand
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE, GROUP_FIXTURE, IMPOSTOR_FIXTURE
from pytest_amdgpu.plugin.report import LEAK_PROPERTY, failed_key
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.plugin.take_back import Ledger, ledger_key

if TYPE_CHECKING:
    import numpy as np

    from pytest_amdgpu.driver.buffer import Buffer
    from pytest_amdgpu.driver.compute_queue import ComputeQueue
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.program import ProgramKernel
    from pytest_amdgpu.driver.resources import Resource
    from pytest_amdgpu.driver.sdma_queue import SdmaQueue
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore
    from pytest_amdgpu.emulator.injection.defect import Defect
    from pytest_amdgpu.plugin.injection import Injecting

_P = ParamSpec("_P")
_T = TypeVar("_T")
_R = TypeVar("_R", bound="Resource")
BufferFactory: TypeAlias = "Callable[..., Buffer]"
KernelFactory: TypeAlias = "Callable[..., ProgramKernel]"


@pytest.fixture(scope="session")
def amdgpu_device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """An opened GPU; the test runs once per selected device.

    What a test makes with its methods and does not give back is taken back after the test, and reported.
    After a fault the GPU is opened anew behind the same object.
    """
    if not hasattr(request, "param"):
        pytest.fail(
            "this test asks for a GPU only while it runs (request.getfixturevalue), too late to run per"
            " device: let it name the fixture amdgpu_device, or mark it usefixtures('amdgpu_device')",
            pytrace=False,
        )
    session = request.config.stash[session_key]
    device = session.open_for_tests(request.param)
    yield device
    session.close(device)


@pytest.fixture(scope="session")
def amdgpu_devices(amdgpu_device: Device, request: pytest.FixtureRequest) -> Iterator[list[Device]]:
    """Several opened GPUs; the test runs once per selected device, together with others.

    The marker `amdgpu(devices=2, relation="peers")` says how many, and what they are to each other. The
    first is `amdgpu_device`, which the other fixtures are of.
    """
    session = request.config.stash[session_key]
    opened = [amdgpu_device]
    try:
        opened += [session.open_for_tests(info) for info in request.param[1:]]
        yield list(opened)
    finally:
        for device in reversed(opened[1:]):
            session.close(device)


# Tests that use a device have it without asking (`attend`). It is set up before and torn down after the other
# fixtures of a test, and so sees all they did.
@pytest.fixture
def _amdgpu_take_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take back, after each test and whatever happened in it, all that it was given of the GPU."""
    __tracebackhide__ = True
    session = request.config.stash[session_key]
    devices = [request.getfixturevalue(DEVICE_FIXTURE)]
    if GROUP_FIXTURE in request.fixturenames:
        devices = request.getfixturevalue(GROUP_FIXTURE)
    _refuse_impostors(devices)
    session.check(devices)
    if session.health is not None:
        session.health.before_first_test(devices)
        session.check(devices)
    for device in devices:
        session.errors.begin(device, request.node.nodeid)
    ledger = Ledger(devices)
    request.node.stash[ledger_key] = ledger
    yield
    request.node.user_properties += [(LEAK_PROPERTY, leak) for leak in ledger.leaks()]
    renew = partial(session.renew, f"{request.node.nodeid} made the GPU fault")
    failed = request.node.stash.get(failed_key, False)
    errors = ledger.take_back(renew, failed=failed)
    if session.health is not None:
        errors += session.health.after_test(devices, failed=failed or bool(errors))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("after the test, the GPU was not as it should be", errors)


@pytest.fixture(name=IMPOSTOR_FIXTURE)
def _amdgpu_impostor(request: pytest.FixtureRequest) -> None:
    """Let a test fail whose id has that of a device, by a parameter, but which does not use it."""
    pytest.fail(
        f"a parameter of {request.function.__name__} has the id of a device, which the test does not use: let"
        f" it name the fixture {DEVICE_FIXTURE}, or give the parameter another id",
        pytrace=False,
    )


@pytest.fixture
def vram_buffer(amdgpu_device: Device, request: pytest.FixtureRequest) -> BufferFactory:
    """Return a function that allocates memory of the GPU: `vram_buffer(size_in_bytes)`.

    Keywords as for `Device.vram`: `cpu_visible`, `executable`, `uncached`, `peers`.
    """
    return _handing_out(request, amdgpu_device.vram)


@pytest.fixture
def gtt_buffer(amdgpu_device: Device, request: pytest.FixtureRequest) -> BufferFactory:
    """Return a function that allocates system memory for the GPU: `gtt_buffer(size_in_bytes)`.

    Keywords as for `Device.gtt`: `executable`, `uncached`, `peers`.
    """
    return _handing_out(request, amdgpu_device.gtt)


@pytest.fixture
def userptr_buffer(amdgpu_device: Device, request: pytest.FixtureRequest) -> BufferFactory:
    """Return a function that lets the GPU reach memory of the process: `userptr_buffer(array_or_size)`."""
    return _handing_out(request, amdgpu_device.userptr)


@pytest.fixture
def sdma_queue(amdgpu_device: Device, request: pytest.FixtureRequest) -> SdmaQueue:
    """A queue of an SDMA engine."""
    return _hand_out(request, amdgpu_device.sdma_queue)


@pytest.fixture
def compute_queue(amdgpu_device: Device, request: pytest.FixtureRequest) -> ComputeQueue:
    """A compute queue: AQL on GPUs with several XCCs, PM4 on the others."""
    return _hand_out(request, amdgpu_device.compute_queue)


@pytest.fixture
def timeline_semaphore(amdgpu_device: Device, request: pytest.FixtureRequest) -> TimelineSemaphore:
    """A 64-bit timeline semaphore with the value 0."""
    return _hand_out(request, amdgpu_device.timeline_semaphore)


@pytest.fixture
def load_kernel(amdgpu_device: Device, request: pytest.FixtureRequest) -> KernelFactory:
    """Return a function that loads a kernel of a code object: `load_kernel(path_or_bytes, name)`.

    Without a name the code object must hold one kernel.
    """

    def load(code_object: bytes | str | Path, name: str | None = None) -> ProgramKernel:
        program = _handing_out(request, amdgpu_device.load)(code_object)
        if name is None:
            names = list(program)
            if len(names) != 1:
                raise ValueError(f"the code object holds {len(names)} kernels, name one: {', '.join(names)}")
            name = names[0]
        return program[name]

    return load


@pytest.fixture
def compile_kernel(
    amdgpu_device: Device, load_kernel: KernelFactory, request: pytest.FixtureRequest
) -> KernelFactory:
    """Return a function that compiles and loads a kernel: `compile_kernel(source, name=None)`.

    Keywords: `language` (`c`, `cl` or `asm`), `options` for the compiler, `include` directories. The
    compiler is that of --amdgpu-compiler, $ROCM_PATH, PATH, or the package ziglang; what it made is cached.
    """
    from pytest_amdgpu.driver.compiler import compile_source, find_compiler

    def compile_and_load(
        source: str,
        name: str | None = None,
        *,
        language: str = "c",
        options: Sequence[str] = ("-O2",),
        include: Sequence[Path] = (),
    ) -> ProgramKernel:
        compiler = find_compiler(request.config.getoption("--amdgpu-compiler"))
        target = amdgpu_device.family.name
        code_object = compile_source(
            source, target, language=language, options=options, include=include, compiler=compiler
        )
        return load_kernel(code_object, name)

    return compile_and_load


@pytest.fixture
def amdgpu_attach(request: pytest.FixtureRequest) -> Callable[[str, str | bytes | np.ndarray], None]:
    """Return a function that keeps something for the case that the test fails: `amdgpu_attach(name, data)`.

    Text, bytes or a numpy array, as it is now. It becomes a file among the attachments, and nothing where
    none are written (--amdgpu-attachments, --amdgpu-verdict).
    """
    from pytest_amdgpu.plugin.judging.attachments import attach

    return partial(attach, request.node)


@pytest.fixture
def amdgpu_inject(request: pytest.FixtureRequest) -> Iterator[Callable[..., list[Defect]]]:
    """Return a function that lets a software GPU fail: `amdgpu_inject("drop-fence", after=3)`.

    Defects and options are those of --amdgpu-inject (`--amdgpu-inject=help` lists them), and `device` is
    what stands behind @ there; without it: the test's own. They end with the test. On hardware the test is
    skipped.
    """
    session = request.config.stash[session_key]
    if not session.plan.machine.software:
        pytest.skip(f"{NOT_APPLICABLE}only software GPUs fail on request")
    own = getattr(getattr(request.node, "callspec", None), "params", {}).get(DEVICE_FIXTURE)
    injected: list[tuple[Injecting, list[Defect]]] = []

    def inject(name: str, *, device: str | None = None, **options: object) -> list[Defect]:
        injecting, defects = inject_by_hand(session, request.node, own, name, device, options)
        injected.append((injecting, defects))
        return defects

    yield inject
    for injecting, defects in injected:
        injecting.remove(defects)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A numpy random generator, seeded by the run's seed and the test's name.

    The seed is in the header and in the report of a failure; --amdgpu-seed repeats it. A test draws the
    same numbers whether it runs alone or with others.
    """
    import numpy as np

    seed = request.config.stash[session_key].plan.seed
    name = request.node.stash.get(twin_of_key, request.node.nodeid)
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _refuse_impostors(devices: Sequence[object]) -> None:
    """Fail a test whose fixture was replaced by another one: it would count as one that ran on the GPU."""
    from pytest_amdgpu.driver.device import Device

    for device in devices:
        if not isinstance(device, Device):
            pytest.fail(
                f"{DEVICE_FIXTURE} is {type(device).__name__} and no Device: a fixture of that name hides the"
                " plugin's; give it another name",
                pytrace=False,
            )


def _hand_out(request: pytest.FixtureRequest, make: Callable[[], _R]) -> _R:
    """Make one thing of the device, which messages call by the name of its fixture."""
    resource = _handing_out(request, make)()
    resource.site = f"fixture {request.fixturename}"
    return resource


def _handing_out(request: pytest.FixtureRequest, make: Callable[_P, _T]) -> Callable[_P, _T]:
    """Wrap a method of the device so that what it makes counts as handed out, and not as leaked."""
    ledger: Ledger = request.node.stash[ledger_key]

    def make_and_note(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return ledger.hand_out(lambda: make(*args, **kwargs))

    return make_and_note
