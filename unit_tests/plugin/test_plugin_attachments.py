"""What failing tests leave: folders, their files, how they come from workers, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from pytest_amdgpu.results.attachments import folder_name

Run = Callable[..., pytest.RunResult]
SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())

TESTS = """
    import numpy as np, os, pytest

    @pytest.fixture
    def late(amdgpu_attach):
        yield
        amdgpu_attach("late", "after the test")

    def test_fails(amdgpu_device, amdgpu_attach, late):
        print("to the output \\udcff")
        amdgpu_attach("note", "one")
        amdgpu_attach("note", "two")
        amdgpu_attach("raw.dump", bytearray(b"\\0\\1"))
        array = np.arange(6, dtype=np.uint16)
        amdgpu_attach("got", array)
        array[:] = 0
        assert False, "it broke"

    def test_passes(amdgpu_device, amdgpu_attach): amdgpu_attach("note", "nobody reads it")
    def test_skipped(amdgpu_attach):
        amdgpu_attach("note", "nobody reads it")
        pytest.skip("not today")
    @pytest.fixture
    def broken(): raise RuntimeError("no set-up")
    def test_setup(broken): pass
    def test_crashes(amdgpu_device): os._exit(3)
"""
LATER_SECTION = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if report.when == "teardown":
            report.sections.append(("amdgpu afterwards", "as it turned out"))
        return report
"""
FAILS = "test_it.py::test_fails[sw-gfx942-0]"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_each_failing_test_has_a_folder(workers: Sequence[str], run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(LATER_SECTION)
    chosen = [] if workers else ["-k", "not crashes"]
    result = run("--amdgpu-attachments=out/there", *chosen, *workers, xdist=bool(workers))
    directory = pytester.path / "out" / "there"
    tests = {FAILS, "test_it.py::test_setup", *(["test_it.py::test_crashes[sw-gfx942-0]"] if workers else [])}
    assert {path.name for path in directory.iterdir()} == set(map(folder_name, tests))
    found = contents(directory / folder_name(FAILS))
    assert {name: found[name] for name in ("note.txt", "note-2.txt", "raw.dump", "late.txt")} == {
        "note.txt": b"one",
        "note-2.txt": b"two",
        "raw.dump": b"\0\1",
        "late.txt": b"after the test",
    }
    assert np.load(directory / folder_name(FAILS) / "got.npy").tolist() == [0, 1, 2, 3, 4, 5]
    assert b"to repeat: pytest --amdgpu-seed=" in found["amdgpu.txt"]
    assert found["amdgpu_afterwards.txt"] == b"as it turned out"
    assert b"it broke" in found["traceback-call.txt"]
    assert b"to the output" in found["Captured_stdout_call.txt"]
    assert contents(directory / folder_name("test_it.py::test_setup")).keys() >= {"traceback-setup.txt"}
    if workers:
        crash = contents(directory / folder_name("test_it.py::test_crashes[sw-gfx942-0]"))
        assert b"crashed" in crash["traceback-crash.txt"]
    number = 3 if workers else 2
    result.stdout.fnmatch_lines([f"amdgpu: attachments of {number} failing tests are in {directory}"])


def test_the_verdict_lists_them_and_pages_link_them(run: Run, pytester: pytest.Pytester) -> None:
    from pytest_amdgpu.commands.report import write_reports

    pytester.makepyfile(test_it=TESTS)
    pytester.mkdir("results")
    run("--amdgpu-verdict=results/v.json", "--junitxml=junit.xml", "-k", "fails or passes", xdist=True)
    content = json.loads(Path("results/v.json").read_text())
    jsonschema.validate(content, SCHEMA)
    listed = {test["id"]: test["attachments"] for test in content["tests"]}
    folder = f"v.json-attachments/{folder_name(FAILS)}"
    assert set(listed[FAILS]) == {
        f"{folder}/{path.name}" for path in (pytester.path / "results" / folder).iterdir()
    }
    assert listed["test_it.py::test_passes[sw-gfx942-0]"] == []
    Path("pages").mkdir()
    write_reports(Path("results/v.json"), [], Path("pages/page.html"), "summary.md")
    page = Path("pages/page.html").read_text()
    assert f'<a href="../results/{folder}/note.txt">note.txt</a>' in page
    assert f"attachments: `{folder}`\n" in Path("summary.md").read_text()
    (case,) = (
        case for case in ElementTree.parse("junit.xml").iter("testcase") if "fails" in case.attrib["name"]
    )
    named = [
        one.attrib["value"] for one in case.iter("property") if one.attrib["name"] == "amdgpu_attachment"
    ]
    assert sorted(named) == sorted(listed[FAILS])


def test_without_a_place_nothing_is_written(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    run("-k", "fails")
    assert not [path for path in pytester.path.rglob("*") if "test_fails" in path.name or "note" in path.name]


def test_a_directory_that_cannot_be_is_a_usage_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    Path("file").write_text("")
    result = run("--amdgpu-attachments=file")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--amdgpu-attachments: file is no directory"])


def test_a_full_disk_loses_no_result(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(
        """
        import errno, os
        from pathlib import Path

        def write_bytes(path, data): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        Path.write_bytes = write_bytes
        """
    )
    result = run("--amdgpu-attachments=out", "-k", "fails or passes")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*amdgpu: attachments that could not be written*",
            f"{FAILS}: note.txt: *No space left on device*".replace("[", "[[]"),
            "... and * more",
        ]
    )
    assert "attachments of" not in result.stdout.str()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("'a/b', 'x'", "'a/b' cannot name an attachment: at most 100 letters, *"),
        ("'..', 'x'", "'..' cannot name an attachment: *"),
        ("3, 'x'", "3 cannot name an attachment: *"),
        ("'a', 3.5", "a is float; text, bytes and numpy arrays can be attached"),
        ("'a', np.array([None])", "a is an array of Python objects; an array of numbers can be attached"),
        ("'a', bytes((64 << 20) + 1)", "with a the test attaches 67108865 bytes, more than 67108864"),
    ],
)
def test_what_cannot_be_attached_fails_the_test(
    call: str, message: str, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(f"import numpy as np\ndef test_it(amdgpu_attach): amdgpu_attach({call})")
    result = run("--amdgpu-attachments=out")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *AttachmentError: {message}"])
