"""What a person gets who installs this package: the wheel, built here as PyPI would be given it."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "django_redis_sessions"

#: Modules and what lies beside them; a new kind of file has to be added here, and a look taken at the wheel.
KINDS = {".css", ".html", ".js", ".lua", ".mo", ".po", ".py", ".svg", ".txt", ".typed", ".zdict", ".bin"}

pytestmark = pytest.mark.skipif(
    not PACKAGE.is_dir(),
    reason="These tests run beside an installed wheel; the package's source is not here.",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def files_of_the_package():
    return {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def distribution(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()


class TestTheWheel:
    def test_holds_every_file_of_the_package(self, names):
        assert files_of_the_package() - names == set()

    def test_holds_nothing_else(self, names):
        extra = {name for name in names - files_of_the_package() if ".dist-info/" not in name}
        assert extra == set()

    def test_is_typed(self, names):
        assert "django_redis_sessions/py.typed" in names

    @pytest.mark.parametrize("language", ["de", "fr"])
    def test_brings_its_translations_compiled(self, names, language):
        assert f"django_redis_sessions/locale/{language}/LC_MESSAGES/django.mo" in names

    def test_carries_its_licence(self, names):
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)

    def test_consists_of_known_kinds_of_files(self):
        """A kind nobody thought of is either forgotten in the packaging or does not belong into a package."""
        assert {Path(name).suffix for name in files_of_the_package()} - KINDS == set()

    def test_is_the_same_for_every_python_and_platform(self, wheel):
        assert wheel.name.endswith("-py3-none-any.whl")


class TestTheMetadata:
    def test_names_the_distribution_and_its_python(self, metadata):
        assert metadata["Name"] == "django-redis-sessionstore"
        assert metadata["Requires-Python"] == ">=3.11"
        assert metadata["License-Expression"] == "MIT"

    def test_a_plain_installation_needs_three_packages(self, metadata):
        plain = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
        assert {distribution(line) for line in plain} == {"django", "redis", "hiredis"}

    def test_offers_the_extras_that_are_documented(self, metadata):
        assert {"embedded", "demo", "test", "docs"} <= set(metadata.get_all("Provides-Extra"))

    def test_has_the_version_of_the_package(self, metadata, wheel):
        (line,) = re.findall(r'^__version__ = "(.+)"$', (PACKAGE / "__init__.py").read_text(), re.MULTILINE)
        assert metadata["Version"] == line
        assert wheel.name.startswith(f"django_redis_sessionstore-{line}-")


class TestTheInstalledPackage:
    @pytest.fixture
    def installed(self, wheel, tmp_path):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)  # noqa: S202 - we made it
        return tmp_path

    def isolated(self, code, *flags):
        """Run code in a Python that knows neither this checkout nor the environment's variables."""
        return subprocess.run(
            [sys.executable, "-I", *flags, "-c", code], capture_output=True, text=True, cwd="/"
        )

    def test_is_imported_with_nothing_else_there(self, installed):
        done = self.isolated(
            f"import sys; sys.path.insert(0, {str(installed)!r})\n"
            "import django_redis_sessions\n"
            "print(django_redis_sessions.__file__)",
            "-S",
        )
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).is_relative_to(installed)

    def test_has_modules_that_can_all_be_imported(self, installed):
        """Each needs no more than the declared dependencies and a configured Django."""
        done = self.isolated(
            f"import sys; sys.path.insert(0, {str(installed)!r})\n"
            "import importlib, pkgutil\n"
            "import django; from django.conf import settings\n"
            "settings.configure(SECRET_KEY='x', INSTALLED_APPS=['django.contrib.admin',"
            " 'django.contrib.contenttypes', 'django.contrib.auth', 'django.contrib.messages',"
            " 'django.contrib.sessions', 'django_redis_sessions'],"
            " SESSION_ENGINE='django_redis_sessions.backend')\n"
            "django.setup()\n"
            "import django_redis_sessions as package\n"
            "for module in pkgutil.walk_packages(package.__path__, 'django_redis_sessions.'):\n"
            "    if not module.name.endswith('__main__'):\n"
            "        print(importlib.import_module(module.name).__file__)\n"
        )
        assert done.returncode == 0, done.stderr
        places = [Path(line) for line in done.stdout.splitlines()]
        assert places
        assert all(place.is_relative_to(installed) for place in places)


class TestTheSourceDistribution:
    def test_holds_the_package_and_its_tests(self, tmp_path):
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        (path,) = tmp_path.glob("*.tar.gz")
        with tarfile.open(path) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert files_of_the_package() - names == set()
        assert {"pyproject.toml", "LICENSE", "tests/test_packaging.py", "tox.ini"} <= names
        assert "examples/falcon_api.py" in names
