"""What a repository says to people and machines beside its code: citation, workflows, forms, release."""

import importlib.util
import re
import shutil
import subprocess
import sysconfig
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
GITHUB = PROJECT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
# A commit, and beside it the release that it is of.
PINNED = re.compile(
    r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+"
)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def check_release() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "check_release", PROJECT / "scripts" / "check_release.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:  # as it is found by what is run as a script
        patched.syspath_prepend(PROJECT / "scripts")
        spec.loader.exec_module(module)
    return module


def test_the_citation_is_one_by_the_format_1_2_0() -> None:
    """The rules of the Citation File Format's schema guide that concern these entries."""
    cited = read(PROJECT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] in ("software", "dataset")
    assert set(cited) <= {
        *("cff-version", "message", "title", "authors", "abstract", "commit", "contact", "doi"),
        *("date-released", "identifiers", "keywords", "license", "license-url", "references"),
        *("preferred-citation", "repository", "repository-artifact", "repository-code", "type"),
        *("url", "version"),
    }
    assert all(isinstance(word, str) for word in cited["keywords"])
    assert len(set(cited["keywords"])) == len(cited["keywords"])
    if "date-released" in cited:
        assert isinstance(cited["date-released"], date)
    for entry in (cited, *cited.get("references", ())):
        assert entry["title"]
        for person in entry["authors"]:
            # a person by names, or an entity by its name alone
            assert set(person) >= {"family-names"} or set(person) >= {"name"}
            assert set(person) <= {"family-names", "given-names", "orcid", "affiliation", "name"}
    for entry in cited.get("references", ()):
        assert entry["type"] in ("article", "book", "conference-paper", "software", "thesis")
        assert isinstance(entry["year"], int)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_the_commit_of_a_release(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert used
    assert [line for line in used if not PINNED.match(line)] == []
    # one action, one commit, in all files
    everywhere = "\n".join(other.read_text(encoding="utf-8") for other in WORKFLOWS)
    for line in used:
        name = line.partition("@")[0]
        assert len(set(re.findall(rf"{name}@([0-9a-f]{{40}})", everywhere))) == 1, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_may_do_what_they_need_and_end(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 45, name
        granted = job.get("permissions", {})
        writing = {key for key, value in granted.items() if value == "write"}
        # only what is signed in nobody's name but the workflow's
        assert writing <= {"id-token", "attestations"}, name
        assert not writing or job.get("environment") == "pypi", name


def test_the_workflows_have_no_known_hole() -> None:
    scripts = sysconfig.get_path("scripts")
    zizmor = shutil.which("zizmor", path=scripts) or shutil.which("zizmor")
    assert zizmor is not None
    done = subprocess.run(
        [zizmor, "--offline", "--no-progress", str(GITHUB)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_forms_of_issues_ask_and_have_names_of_their_own() -> None:
    forms = [path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert forms
    for path in forms:
        form = read(path)
        assert {"name", "description", "body"} <= set(form)
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        identifiers = [field["id"] for field in fields]
        assert len(set(identifiers)) == len(identifiers)
        assert any(field.get("validations", {}).get("required") for field in fields)


def test_renewals_wait_for_a_release_to_be_a_week_old() -> None:
    updates = read(GITHUB / "dependabot.yml")["updates"]
    assert {entry["package-ecosystem"] for entry in updates} == {"github-actions", "pip"}
    assert all(entry["cooldown"]["default-days"] >= 7 for entry in updates)


def test_a_tag_of_another_version_is_refused(check_release: ModuleType) -> None:
    version = check_release.read_version()
    right = [*check_release.check_tag(f"v{version}")]
    assert not any("the tag is" in problem for problem in right)
    for tag in ("v99.0.0", version):
        assert any("the tag is" in problem for problem in check_release.check_tag(tag))


def test_what_a_release_lacks_is_named(
    check_release: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PKG-INFO").write_text("Version: 1.2.3\n")
    (tmp_path / "pyproject.toml").write_text('[project]\ndynamic = ["version"]\n')
    (tmp_path / "CITATION.cff").write_text("version: 1.2.2\n")
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n")
    (tmp_path / "README.md").write_text("![a](docs/a.png)\n")
    monkeypatch.setattr(check_release, "PROJECT", tmp_path)
    assert len([*check_release.check_tag("v1.2.3")]) == 5
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndynamic = ["version"]\n[project.urls]\nHomepage = "https://example.org"\n'
    )
    (tmp_path / "CITATION.cff").write_text("version: 1.2.3\ndate-released: 2026-01-01\n")
    (tmp_path / "CHANGELOG.md").write_text("## [1.2.3] - 2026-01-01\n")
    (tmp_path / "README.md").write_text("![a](https://example.org/a.png)\n")
    assert [*check_release.check_tag("v1.2.3")] == []


def test_pages_for_people_lead_somewhere() -> None:
    for name in ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md"):
        text = (PROJECT / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+)", text)
        missing = [link for link in links if "://" not in link and not (PROJECT / link).exists()]
        assert missing == [], name
        # no address that nobody reads
        assert not re.search(r"[\w.]+@[\w.]+\.\w+", text), name
