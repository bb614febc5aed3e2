"""What is installed: the manifest, the wheel, and the versions it is tested with."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from npe2 import PluginManifest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

PROJECT = Path(__file__).parents[1]
MANIFEST = PROJECT / "napari.yaml"
METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
READ_VERSION = PROJECT / "scripts" / "read_version.py"


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, PROJECT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def fresh_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment into which the wheel was installed.

    The dependencies are those of the environment that runs the tests, so no network is needed.
    """
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    venv.create(folder, with_pip=False)
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    python = folder / scripts / Path(sys.executable).name
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    assert uv is not None
    run(uv, "pip", "install", "--offline", "--no-index", "--no-deps", "--python", python, wheel)
    purelib = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python


def test_the_manifest_is_valid_and_bears_the_name_of_the_distribution() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    assert manifest.name == METADATA["project"]["name"]


def test_every_command_of_the_manifest_is_there() -> None:
    commands = PluginManifest.from_file(MANIFEST).contributions.commands or []
    assert commands
    for command in commands:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(import_module(module), name)), command.id


def test_the_package_holds_the_manifest_of_the_top_level() -> None:
    inside = files("napari_why") / "napari.yaml"
    assert inside.read_text(encoding="utf-8") == MANIFEST.read_text(encoding="utf-8")


def test_the_wheel_holds_the_manifest_itself_and_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.read("napari_why/napari.yaml") == MANIFEST.read_bytes()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"napari_why"}
    assert "napari_why/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_what_is_built_passes_the_check_of_a_release(built: Path) -> None:
    run(sys.executable, PROJECT / "scripts" / "check_release.py", "--dist", built)


def test_the_check_of_a_release_finds_what_is_missing(wheel: Path, tmp_path: Path) -> None:
    """A wheel without its manifest, with a foreign file beside, and no source distribution."""
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / wheel.name, "w") as part:
        for name in whole.namelist():
            if not name.endswith("napari.yaml"):
                part.writestr(name, whole.read(name))
        part.writestr("tests/__pycache__/a.pyc", b"")
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "check_release.py", "--dist", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for said in (
        "napari_why/napari.yaml",
        "beside the package",
        "not for publishing",
        "sources []",
    ):
        assert said in done.stderr


def test_the_icon_of_the_manifest_is_a_picture_in_the_package(wheel: Path) -> None:
    icon = PluginManifest.from_file(MANIFEST).icon
    assert icon == "napari_why:icon.svg"
    with zipfile.ZipFile(wheel) as archive:
        drawing = archive.read("napari_why/icon.svg")
    assert ElementTree.fromstring(drawing).tag.endswith("svg")  # noqa: S314 - our own file


def test_the_source_distribution_holds_the_manifest_at_the_top(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        manifest = archive.extractfile(f"{path.name.removesuffix('.tar.gz')}/napari.yaml")
        assert manifest is not None
        assert manifest.read() == MANIFEST.read_bytes()


def test_napari_finds_a_valid_plugin_in_a_fresh_environment(fresh_python: Path) -> None:
    where = "import napari_why; print(napari_why.__file__)"
    assert str(fresh_python.parents[1]) in run(fresh_python, "-c", where, cwd=fresh_python.parent)
    told = run(fresh_python, "-m", "npe2", "validate", "napari-why", cwd=fresh_python.parent)
    assert "valid" in told


def test_the_command_is_installed_with_the_wheel(fresh_python: Path, wheel: Path) -> None:
    command = shutil.which("napari-why", path=fresh_python.parent)
    assert command is not None
    _, version, *_ = parse_wheel_filename(wheel.name)
    assert run(command, "--version").split() == ["napari-why", str(version)]


def test_every_direct_dependency_is_pinned_in_the_constraints() -> None:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(pin.name) for pin in pins}
    assert all([item.operator for item in pin.specifier] == ["=="] for pin in pins)

    project = METADATA["project"]
    asked = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
        *METADATA["dependency-groups"]["dev"],
        *METADATA["dependency-groups"]["docs"],
    ]
    names = {canonicalize_name(Requirement(item).name) for item in asked}
    assert names - pinned <= {"napari-why", "uv"}


def assert_one_version(version: str, citation: Path) -> None:
    """A release is that which CITATION.cff tells; on the way to the next, that may tell it already."""
    released = Version(yaml.safe_load(citation.read_text(encoding="utf-8"))["version"])
    told = Version(version)
    if told.local is None:
        assert told == released
    else:
        assert Version(told.public) <= released


def test_all_files_tell_one_version() -> None:
    assert_one_version(run(sys.executable, READ_VERSION).strip(), PROJECT / "CITATION.cff")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what a version is read of."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(READ_VERSION, folder / "scripts")
    (folder / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 7.8.9\n")
    return folder


def version_of(checkout: Path) -> str:
    return run(sys.executable, checkout / "scripts" / "read_version.py").strip()


Git = Callable[..., str]


@pytest.fixture
def git(checkout: Path) -> Git:
    """What runs git there; the checkout has one commit."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    names = [
        word
        for setting in ("user.name=a", "user.email=a@example.org", "commit.gpgsign=false")
        for word in ("-c", setting)
    ]

    def call(*words: str) -> str:
        return run("git", "-C", checkout, *names, *words).strip()

    call("init", "--quiet")
    call("add", ".")
    call("commit", "--quiet", "--message=first")
    return call


def test_the_version_is_that_of_the_tag(checkout: Path, git: Git) -> None:
    assert version_of(checkout) == "7.8.9"  # no tag yet
    git("tag", "v1.2.3rc1")
    git("tag", "notes-1.2.9")
    assert version_of(checkout) == "1.2.3rc1"
    git("commit", "--quiet", "--allow-empty", "--message=second")
    later = version_of(checkout)
    assert later == f"1.2.3rc1+1.g{git('rev-parse', '--short', 'HEAD')}"
    assert Version(later).local is not None  # which no index takes
    # a copy without history in another checkout is none of its commits
    inner = checkout / "inner"
    shutil.copytree(checkout / "scripts", inner / "scripts")
    shutil.copy(checkout / "CITATION.cff", inner)
    assert version_of(inner) == "7.8.9"


def test_a_tag_may_have_a_message(checkout: Path, git: Git) -> None:
    git("tag", "--annotate", "--message=of old", "v1.2.3")
    assert version_of(checkout) == "1.2.3"
    git("commit", "--quiet", "--allow-empty", "--message=second")
    assert version_of(checkout).startswith("1.2.3+1.g")


@pytest.mark.parametrize("last", ["v1.2.10", "v1.2.10rc2"])
def test_of_tags_of_one_commit_the_highest_version_counts(
    checkout: Path, git: Git, last: str
) -> None:
    for tag in ("v1.2.9", "v1.2.10b3", last, "v1.2.10rc1"):
        git("tag", tag)
    assert version_of(checkout) == last.removeprefix("v")


def test_a_tag_that_is_no_version_is_left_out_and_named(checkout: Path, git: Git) -> None:
    odd = ("v1.2.4.backup", "v1.2.4-rc1", "v1.2", "v1.2.04")
    git("tag", "v1.2.3")
    git("commit", "--quiet", "--allow-empty", "--message=second")
    for tag in odd:
        git("tag", tag)
    done = subprocess.run(
        [sys.executable, checkout / "scripts" / "read_version.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("1.2.3+1.g")
    for tag in odd:
        assert f"the tag {tag} is no version" in done.stderr


def test_files_that_differ_from_the_tag_are_no_release(checkout: Path, git: Git) -> None:
    with (checkout / "CITATION.cff").open("a") as file:
        file.write("title: other\n")
    assert version_of(checkout) == "7.8.9+dirty"
    git("tag", "v1.2.3")
    assert version_of(checkout) == "1.2.3+dirty"
    git("commit", "--quiet", "--all", "--message=second")
    (checkout / "CITATION.cff").write_text("version: 7.8.9\n")
    assert version_of(checkout) == f"1.2.3+1.g{git('rev-parse', '--short', 'HEAD')}.dirty"


def test_a_clone_without_the_tags_of_its_past_tells_its_commit(
    checkout: Path, git: Git, tmp_path: Path
) -> None:
    git("tag", "v1.2.3")
    git("commit", "--quiet", "--allow-empty", "--message=second")
    shallow = tmp_path / "shallow"
    run("git", "clone", "--quiet", "--depth=1", checkout.as_uri(), shallow)
    assert version_of(shallow) == f"7.8.9+g{git('rev-parse', '--short', 'HEAD')}"


def test_where_git_fails_the_version_is_none_of_a_release(checkout: Path, git: Git) -> None:
    git("tag", "v1.2.3")
    (checkout / ".git" / "HEAD").unlink()  # as git sees a link to where no checkout is any more
    done = subprocess.run(
        [sys.executable, checkout / "scripts" / "read_version.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "7.8.9+unknown"
    assert "not a git repository" in done.stderr


def test_a_git_that_runs_another_checkout_is_not_asked_about_that(
    checkout: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook of git sets these variables for all that it starts."""
    git("tag", "v1.2.3")
    other = tmp_path / "other"
    run("git", "init", "--quiet", other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert version_of(checkout) == "1.2.3"


def test_citation_may_tell_the_next_release_before_its_tag(checkout: Path, git: Git) -> None:
    git("tag", "v7.8.8")
    assert version_of(checkout) == "7.8.8"
    with pytest.raises(AssertionError):
        assert_one_version(version_of(checkout), checkout / "CITATION.cff")
    git("commit", "--quiet", "--allow-empty", "--message=to release")
    assert_one_version(version_of(checkout), checkout / "CITATION.cff")
    git("tag", "v7.8.9")
    assert_one_version(version_of(checkout), checkout / "CITATION.cff")


def test_the_version_of_a_source_distribution_is_the_one_that_it_was_made_as(
    checkout: Path,
) -> None:
    (checkout / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: napari-why\nVersion: 4.5.6\n")
    assert version_of(checkout) == "4.5.6"


def test_the_check_of_a_release_finds_a_tag_that_is_not_what_is_checked_out() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "check_release.py", "--tag", "v99.0.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for said in ("would be built as version", "CITATION.cff tells another", "no section [99.0.0]"):
        assert said in done.stderr
