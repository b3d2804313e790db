"""What README and docs/ claim about output and commands."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_output_page_shows_what_is_printed(require_ziglang: None) -> None:
    run = subprocess.run(
        [sys.executable, "tools/show_output.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_pages_link_to_files_that_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The names that headings of a page can be linked by."""
    heads = re.findall(r"^#+ (.*)", page.read_text(), re.M)
    return {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(
        re.findall(
            r"`((?:driver|packets|families|emulator|kernel|devices|plugin|results|supervisor|commands)/[\w/]+\.py)`",
            text,
        )
    )
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / "pytest_amdgpu" / name).exists()] == []


def rows(page: str, heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([-\w]+)", section, re.M))


def test_every_fixture_option_and_command_has_its_row() -> None:
    from pytest_amdgpu import plugin
    from pytest_amdgpu.driver.compute_queue import ComputeCommands
    from pytest_amdgpu.driver.sdma_queue import SdmaCommands
    from pytest_amdgpu.plugin import options

    page = (ROOT / "docs" / "tests.md").read_text()
    assert rows(page, "Fixtures") == {name for name in plugin.__all__ if not name.startswith("_")}
    source = Path(options.__file__).read_text()
    assert rows(page, "Options") == set(re.findall(r'"(--amdgpu-[\w-]+)"', source))
    chained = {"wait", "signal", "timestamp", "run", "copy", "fill", "dispatch"}
    assert rows(page, "Commands") == chained
    assert chained <= {*dir(ComputeCommands), *dir(SdmaCommands)}


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize(("page", "blocks"), [("README.md", 1), ("docs/tests.md", 2), ("docs/gate.md", 1)])
def test_the_example_tests_pass(
    page: str, blocks: int, pytester: pytest.Pytester, require_ziglang: None
) -> None:
    sources = python_blocks(ROOT / page)
    pytester.makepyfile(**{f"test_example_{number}": source for number, source in enumerate(sources)})
    result = pytester.runpytest_subprocess("--amdgpu-all-devices", "--amdgpu-backend=software")
    assert len(sources) == blocks
    result.assert_outcomes(passed=8 * blocks)


def test_every_unit_test_belongs_to_an_oracle_of_the_architecture() -> None:
    specification = importlib.util.spec_from_file_location(
        "count_oracles", ROOT / "tools" / "count_oracles.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    files = (path.relative_to(ROOT / "unit_tests") for path in (ROOT / "unit_tests").rglob("test_*.py"))
    per_row = module.count(Counter(path.as_posix() for path in files))
    assert all(per_row.values())
    page = (ROOT / "docs" / "architecture.md").read_text()
    for row, (oracle, _) in module.ORACLES.items():
        assert f"| {row} | {oracle} | " in page
