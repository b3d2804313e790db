"""The command `capture`: a model file from what a kernel says, here an emulated one of known models."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_amdgpu.commands.capture import CaptureError, choose, model_text
from pytest_amdgpu.commands.main import main
from pytest_amdgpu.devices.software import parse_software, software_kernel, software_model
from pytest_amdgpu.driver.errors import TopologyError
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.families.models import DATA, load_model, model, model_names
from pytest_amdgpu.kernel.protocol import KernelError


@pytest.fixture
def two_gpus() -> Iterator[EmulatedKernel]:
    kernel = EmulatedKernel([model("mi300x"), model("rx7900xtx")])
    yield kernel
    kernel.shutdown()


VARIANTS = ["rx7900xtx+small-bar", "mi300x+no-sdma", "mi350x+cpx", "mi300x+qpx", "rx9070xt+apu+no-sdma"]


@pytest.mark.parametrize("name", [*model_names(), *VARIANTS])
def test_a_captured_model_is_the_original(name: str, tmp_path: Path) -> None:
    original = software_model(name)
    # A GPU alone has no links to others.
    kernel = EmulatedKernel([original] * (2 if "xgmi" in original.links else 1))
    path = tmp_path / "captured.toml"
    path.write_text(model_text(kernel, choose(kernel, None), name.replace("+", "-")))
    kernel.shutdown()
    captured = load_model(path)
    assert set(captured.evidence.values()) == {"measured"}
    # The kernel prints no field of the device structure that is 0, nor how many devices a product has.
    drm = {key: value for key, value in original.drm.items() if value}
    alone = replace(original, name=captured.name, evidence={}, drm=drm, devices=1, options=())
    assert replace(captured, evidence={}) == alone


def test_the_command_writes_a_file_that_the_plugin_takes(tmp_path: Path, two_gpus: EmulatedKernel) -> None:
    path = tmp_path / "mine.toml"
    assert main(["capture", "--device", "gfx1100", "-o", str(path)], two_gpus) == 0
    assert load_model(path).name == "rx-7900-xtx"
    (captured,) = parse_software(None, [str(path)])
    assert software_model(captured) == load_model(path)
    named = parse_software("gfx942,rx-7900-xtx:2,rx-7900-xtx+small-bar", [str(path)])
    assert named[:3] == ["mi300x", captured, captured]
    assert software_model(named[3]).mem_banks[0]["heap_type"] == 2
    kernel = software_kernel(named[1:])
    assert [(node.target, node.large_bar) for node in discover(kernel)] == [
        ("gfx1100", True),
        ("gfx1100", True),
        ("gfx1100", False),
    ]
    kernel.shutdown()


def test_the_command_prints_without_a_file(
    capsys: pytest.CaptureFixture[str], two_gpus: EmulatedKernel, tmp_path: Path
) -> None:
    assert main(["capture", "--name", "own"], two_gpus) == 0
    path = tmp_path / "own.toml"
    path.write_text(capsys.readouterr().out)
    assert (load_model(path).name, load_model(path).target) == ("own", "gfx942")


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], two_gpus: EmulatedKernel) -> None:
    assert main(["capture", "--device", "gfx90a"], two_gpus) == 1
    assert "capture: no device is 'gfx90a'; known: gfx942-" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["two words", "a+b", "", 'quote"', "-o"])
def test_a_name_that_no_option_could_name(
    name: str, capsys: pytest.CaptureFixture[str], two_gpus: EmulatedKernel
) -> None:
    status = main(["capture", f"--name={name}"], two_gpus)
    if name:
        assert status == 1
        assert f"capture: {name!r} cannot be the name of a model" in capsys.readouterr().err
    else:
        # As without the option.
        assert 'name = "instinct-mi300x"' in capsys.readouterr().out


def test_names_of_products_are_quoted(two_gpus: EmulatedKernel, tmp_path: Path) -> None:
    node = replace(choose(two_gpus, None), name='an "odd" \\ name\x07\nname = 1')
    path = tmp_path / "odd.toml"
    path.write_text(model_text(two_gpus, node, "odd"))
    assert load_model(path).asic_name == 'an "odd" \\ namename = 1'


def named(name: str) -> str:
    """Return the text of a model under another name."""
    return (DATA / "rx7900xtx.toml").read_text().replace('name = "rx7900xtx"', f'name = "{name}"', 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mi300x", "is 'mi300x', as that of a model in the package; give it one of its own"),
        ("rx7900xtx", "is 'rx7900xtx', as that of a model in the package; give it one of its own"),
        ("gfx1100", "is 'gfx1100', which names a gfx target; give it one of its own"),
        ("gfx1304", "is 'gfx1304', which names a gfx target; give it one of its own"),
    ],
)
def test_a_file_that_would_take_the_place_of_another_model_is_refused(
    name: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "shadow.toml"
    path.write_text(named(name))
    with pytest.raises(ModelFileError) as caught:
        parse_software("mi300x", [str(path)])
    assert str(caught.value) == f"{path}: name: {reason}"


def test_the_file_of_a_model_of_the_package_is_that_model() -> None:
    path = str(DATA / "mi300x.toml")
    (reference,) = parse_software("mi300x", [path])
    assert software_model(reference) == model("mi300x")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(named("twin"))
    one, two = str(tmp_path / "one.toml"), str(tmp_path / "two.toml")
    with pytest.raises(ModelFileError, match=r"two\.toml: name: is 'twin', as in .*one\.toml; two models"):
        parse_software(None, [one, two])
    assert len(parse_software(None, [one, one])) == 1


class ChangedKernel:
    """An emulated kernel some of whose files say something else."""

    def __init__(self, kernel: EmulatedKernel, old: str, new: str) -> None:
        self._kernel, self._old, self._new = kernel, old, new

    def __getattr__(self, name: str) -> object:
        return getattr(self._kernel, name)

    def read_text(self, path: str) -> str:
        return self._kernel.read_text(path).replace(self._old, self._new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_xcc 8", "", "the kernel is too old: its topology lacks num_xcc"),
        (
            "simd_count 1216",
            "simd_count 1212",
            "304 compute units have a cache of their own, but there are 303",
        ),
        ("node_to 0", "node_to 1", "node 1 has no link to a CPU"),
        (
            "sibling_map 1,1,0",
            "sibling_map 1,1,1",
            "no number of compute units explains the caches of level 1",
        ),
        ("simd_id_base ", "simd_id_base 9", "a cache of unit [0-9]+ is outside of the GPU"),
        ("array_count 32", "array_count 31", "31 arrays of 10 units, .* do not fit together"),
        ("cu_per_simd_array 10", "cu_per_simd_array 2000000000", "arrays of 2000000000 units, .* do not fit"),
        ("array_count 32", "array_count 4294967295", "4294967295 arrays of 10 units"),
    ],
)
def test_what_the_kernel_does_not_say(old: str, new: str, message: str, two_gpus: EmulatedKernel) -> None:
    kernel = ChangedKernel(two_gpus, old, new)
    with pytest.raises(CaptureError, match=message):
        model_text(kernel, choose(kernel, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("processor_id_low ", "processor ", r"caches/0/properties has no processor_id_low: "),
        ("sibling_map 1", "sibling_map x", r"caches/0/properties: 'x' is not a decimal number of 64 bits$"),
        ("simd_per_cu 4", "simd_per_cu 0", r"nodes/1/properties: simd_per_cu is 0$"),
        ("0x1002", "1002 2", r"device/vendor: '1002 2\\n' is not a hexadecimal number of 64 bits$"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(
    old: str, new: str, message: str, two_gpus: EmulatedKernel
) -> None:
    kernel = ChangedKernel(two_gpus, old, new)
    with pytest.raises(TopologyError, match=message):
        model_text(kernel, choose(kernel, None))  # type: ignore[arg-type]


def test_a_name_with_quotes_is_written_as_toml_wants_it(two_gpus: EmulatedKernel, tmp_path: Path) -> None:
    node = replace(choose(two_gpus, None), name='odd "chip" \\')
    path = tmp_path / "odd.toml"
    path.write_text(model_text(two_gpus, node))
    assert load_model(path).asic_name == 'odd "chip" \\'


def test_a_machine_without_gpus() -> None:
    kernel = EmulatedKernel([])
    with pytest.raises(CaptureError, match="no GPU: "):
        choose(kernel, None)
    kernel.shutdown()


class NoTopology(EmulatedKernel):
    """A kernel without amdkfd."""

    def read_text(self, path: str) -> str:
        raise KernelError(errno.ENOENT, "read", path)

    def listdir(self, path: str) -> list[str]:
        raise KernelError(errno.ENOENT, "listdir", path)


def test_without_a_gpu_it_says_what_devices_says(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = NoTopology([])
    told = []
    for command in ("capture", "devices"):
        assert main([command], kernel) == 1
        told.append(capsys.readouterr().err)
    kernel.shutdown()
    assert told[0].startswith("capture: no GPU: ")
    assert told[1] == told[0].replace("capture: ", "devices: cannot be used, ")


def test_a_wrong_model_file_is_told_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("name = 7")
    with pytest.raises(ModelFileError, match=r"wrong\.toml: "):
        parse_software(None, [str(path)])
