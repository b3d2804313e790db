"""Discovery: which nodes are GPUs, in which order, under which identity."""

from __future__ import annotations

import errno
import itertools

import pytest
from fake_kernel import FakeKernel, add_node

from pytest_amdgpu.driver.errors import DeviceOpenError, TopologyError
from pytest_amdgpu.driver.links import read_links
from pytest_amdgpu.driver.topology import TOPOLOGY, GpuNode, Properties, discover, parse_properties
from pytest_amdgpu.kernel.protocol import KernelError


def node(**properties: int) -> GpuNode:
    return GpuNode(1, 1, "", Properties("properties", properties), ())


def test_nodes_come_in_numeric_order_with_gpu_id_from_its_own_file() -> None:
    kernel = FakeKernel("mi300x")
    for index in (2, 10, 11):
        add_node(kernel.files, index, 0x2000 + index, {"gpu_id": 5, "location_id": index << 8}, ())
    assert [(found.index, found.gpu_id) for found in discover(kernel)] == [
        (1, 0x1001),
        (2, 0x2002),
        (10, 0x200A),
        (11, 0x200B),
    ]


@pytest.mark.parametrize("file", ["gpu_id", "properties"])
def test_node_hidden_by_a_device_cgroup_is_left_out(file: str) -> None:
    kernel = FakeKernel("mi300x", "rx7900xtx")
    kernel.files[f"{TOPOLOGY}/nodes/1/{file}"] = errno.EPERM
    assert [found.index for found in discover(kernel)] == [2]


def test_other_unreadable_files_are_errors() -> None:
    kernel = FakeKernel("mi300x")
    kernel.files[f"{TOPOLOGY}/nodes/1/properties"] = errno.EIO
    with pytest.raises(KernelError, match="EIO"):
        discover(kernel)


def test_a_change_while_reading_makes_it_read_again() -> None:
    kernel = FakeKernel("mi300x")
    generations = iter(["1\n", "2\n", "2\n", "2\n"])
    kernel.files[f"{TOPOLOGY}/generation_id"] = lambda: next(generations)
    assert len(discover(kernel)) == 1
    assert list(generations) == []


def test_a_topology_that_never_rests_is_an_error() -> None:
    kernel = FakeKernel("mi300x")
    numbers = itertools.count()
    kernel.files[f"{TOPOLOGY}/generation_id"] = lambda: str(next(numbers))
    with pytest.raises(DeviceOpenError, match="changed during each of 3 readings"):
        discover(kernel)


def test_a_node_that_vanishes_while_reading_makes_it_read_again() -> None:
    kernel = FakeKernel("mi300x", "rx7900xtx")
    path = f"{TOPOLOGY}/nodes/2/properties"
    text = kernel.files[path]

    def vanish_once() -> str:
        kernel.files[path] = text
        raise KernelError(errno.ENOENT, "read", path)

    kernel.files[path] = vanish_once
    assert len(discover(kernel)) == 2


def test_identity_is_the_pci_address() -> None:
    # location_id 0x8328: bus 0x83, device 5, function 0 (PCI: devfn = device << 3 | function).
    assert node(location_id=0x8328, domain=2).identity == "0002:83:05.0"
    assert node(location_id=0x0301, domain=0).identity == "0000:03:00.1"


@pytest.mark.parametrize(
    ("version", "target"),
    [(90010, "gfx90a"), (90402, "gfx942"), (90500, "gfx950"), (100300, "gfx1030"), (110501, "gfx1151")],
)
def test_target_name(version: int, target: str) -> None:
    assert node(gfx_target_version=version).target == target


def test_facts_of_a_node() -> None:
    large, small = FakeKernel("rx7900xtx"), FakeKernel("rx7900xtx", small_bar=True)
    (found,) = discover(large)
    assert found.family.name == "gfx1100"
    assert found.unique_id == 7001
    assert found.vram_bytes == 25753026560
    assert found.large_bar
    assert not discover(small)[0].large_bar
    assert found.render_path == "/dev/dri/renderD128"
    assert found.num_xcc == 1
    assert node(num_xcc=0).num_xcc == node().num_xcc == 1


def test_engines_for_xgmi_follow_the_others_however_many_a_file_says_there_are() -> None:
    assert node(num_sdma_engines=2, num_sdma_xgmi_engines=3).xgmi_engines == range(2, 5)
    many = 10**30
    absurd = node(num_sdma_engines=many, num_sdma_xgmi_engines=1).xgmi_engines
    assert (absurd.start, absurd.stop) == (many, many + 1)
    assert node(num_sdma_engines=-1, num_sdma_xgmi_engines=1).xgmi_engines == range(1)


def test_capabilities_of_memory() -> None:
    """Bit 20 of `capability` says that memory errors are told, bit 26 that SRAMs have ECC."""
    # As dumps of an MI300X and of an RX 7900 XTX have them.
    big, small = node(capability=0x2C77A280), node(capability=0x2807A280)
    assert (big.memory_ecc, big.sramecc, small.memory_ecc, small.sramecc) == (True, True, False, False)


def test_a_line_that_is_no_property_is_an_error() -> None:
    assert parse_properties("file", "a 1\n\nb 2\n") == {"a": 1, "b": 2}
    for value in ("0x1002", "", "18446744073709551616", "1_0", "\u0661", "-1"):
        # A newer kernel may say of other things what it likes.
        assert parse_properties("file", f"a 1\nnews {value}\n") == {"a": 1}
        line = f"vendor_id {value}".strip()
        with pytest.raises(
            TopologyError, match=f"^file: line '{line}': '.*' is not a decimal number of 64 bits"
        ):
            parse_properties("file", f"{line}\n")


def test_a_key_that_is_missing_or_0_is_named_with_its_file() -> None:
    properties = Properties("/file", {"a": 0})
    with pytest.raises(TopologyError, match=r"^/file has no b: the amdgpu driver is too old; update"):
        properties["b"]
    with pytest.raises(TopologyError, match=r"^/file: a is 0$"):
        properties.positive("a")
    assert properties.get("b", 3) == 3


@pytest.mark.parametrize("text", ["", "\n", "abc\n", "1" * 5000, "-1\n"])
def test_a_gpu_id_that_is_no_number_is_named_with_its_file(text: str) -> None:
    kernel = FakeKernel("mi300x")
    kernel.files[f"{TOPOLOGY}/nodes/1/gpu_id"] = text
    with pytest.raises(TopologyError, match=f"^{TOPOLOGY}/nodes/1/gpu_id: .* is not a decimal number"):
        discover(kernel)


@pytest.mark.parametrize("name", ["abc", "1" * 5000, "\u0661"])
def test_what_is_no_number_in_a_listing_is_no_node(name: str) -> None:
    kernel = FakeKernel("mi300x")
    kernel.files[f"{TOPOLOGY}/nodes/{name}/gpu_id"] = "0"
    kernel.files[f"{TOPOLOGY}/nodes/1/io_links/{name}/properties"] = "weight 1"
    (node,) = discover(kernel)
    assert node.index == 1
    assert read_links(kernel, node) == []


def test_a_name_is_one_printable_line() -> None:
    kernel = FakeKernel("mi300x")
    kernel.files[f"{TOPOLOGY}/nodes/1/name"] = "a\x1b[1m\ud800 b\nc\n"
    assert discover(kernel)[0].name == "a?[1m? b c"
