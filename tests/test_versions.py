"""The start-up check: which package to change, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from demo import versions
from demo.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
WANTED = """# What the demo needs.
-c constraints.txt

torch>=2.6,<3
transformers>=5.17,<5.24  # a range
gradio>=6.31,<7
num2words>=0.5
not-here>=1; sys_platform == 'x'
"""
GOOD = {"torch": "2.13.0+cpu", "transformers": "5.20.0", "gradio": "6.31.0", "num2words": "0.5.14"}


@pytest.fixture
def check(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(WANTED)

    def check(*parts, **changed):
        found = {**GOOD, **changed}
        return versions.check(parts, installed=found.get, file=file)

    return check


def test_packages_of_the_tested_range_are_passed_over_in_silence(check):
    assert check("page", "models") == []


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("5.30.1", "transformers 5.30.1 is installed, and this demo was tested with <5.24,>=5.17. Run: pip install"),
        ("6.0", "transformers 6.0"),
        ("5.2.0", "transformers 5.2.0"),
        ("5.24.0.dev0", "transformers 5.24.0.dev0"),
    ],
)
def test_a_version_that_nobody_tried_is_told_with_what_to_install(check, version, says):
    (warning,) = check("models", transformers=version)
    assert warning.startswith(says)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"transformers": "4.57.1"}, "transformers 4.57.1 is installed"),
        ({"gradio": "5.49.0"}, "gradio 5.49.0 is installed"),
        ({"torch": None}, "torch is not installed"),
    ],
)
def test_what_cannot_work_is_refused(check, changed, says):
    with pytest.raises(ConfigError, match=rf"{says}.*Run: pip install"):
        check("page", "models", **changed)


def test_where_nothing_is_run_nothing_is_refused(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("torch>=2.6,<3\n")
    (told,) = versions.check(["models"], refuses=False, installed=lambda _: None, file=file)
    assert told.startswith("torch is not installed. Run: pip install")


def test_only_what_is_used_counts(check):
    assert check("page", torch=None, transformers="4.0") == []
    assert check("models", gradio=None) == []
    assert check("models", num2words=None) == []  # the one model that needs it says so


def test_a_version_that_is_no_version_is_told_and_tried(check):
    assert len(check("models", transformers="abc")) == 1


def test_without_the_file_nothing_is_compared(tmp_path):
    assert versions.check(["models"], file=tmp_path / "requirements.txt") == []


def test_the_projects_own_file_is_read_whole_and_every_needed_package_is_in_it():
    names = {versions.canonicalize_name(one.name) for one in versions.requirements(versions.REQUIREMENTS)}
    assert set().union(*versions.NEEDED.values()) <= names
    assert all(isinstance(one, Requirement) for one in versions.requirements(versions.REQUIREMENTS))


def test_ci_runs_the_oldest_versions_that_are_allowed():
    oldest = versions.requirements(ROOT / "requirements-oldest.txt")
    allowed = {one.name: one.specifier for one in versions.requirements(versions.REQUIREMENTS)}
    assert {one.name for one in oldest} == {"transformers", "huggingface_hub"}
    for one in oldest:
        (pin,) = one.specifier
        lowest = next(bound.version for bound in allowed[one.name] if bound.operator == ">=")
        assert pin.version.startswith(f"{lowest}.")


def test_the_installed_packages_pass():
    assert versions.check(["page", "models"]) == []


def test_nothing_of_what_is_looked_at_is_imported():
    code = "import sys; from demo import versions; versions.check(['page', 'models']); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "gradio", "PIL", "numpy"} & set(ran.stdout.split())


def test_a_command_warns_and_goes_on(monkeypatch, capsys):
    from demo import cli

    monkeypatch.setattr(versions.metadata, "version", lambda name: "99.0")
    assert cli.main(["--plan", "--model", "bundled", "--placement", "cpu"], {}) in (0, 2)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert any("torch 99.0 is installed" in line for line in warnings)
    assert not any("gradio" in line for line in warnings)
