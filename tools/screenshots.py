#!/usr/bin/env python3
"""Make the pictures of the documentation anew: ``make screenshots``.

``python -m tools.screenshots [DESTINATION]`` runs the shop of ``testproject`` with a database and a server of its own,
signs some people in, and writes a picture of each page in ``PICTURES`` into ``docs/images``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.browser import FIREFOX_ON_WINDOWS, SAFARI_ON_IPHONE, Missing, Window, chromium
from tests.sites import PROJECT, SERVERS, Place, Site, end_by_force

ROOT = Path(__file__).resolve().parents[1]
CHROME_ON_LINUX = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
ALICE, BOB = ("alice", "wonderland"), ("bob", "builder")
#: Who signs in before the pictures are taken, and from where.
VISITORS = ((BOB, SAFARI_ON_IPHONE), (BOB, FIREFOX_ON_WINDOWS), (ALICE, FIREFOX_ON_WINDOWS))


@dataclass(frozen=True, slots=True)
class Picture:
    """One page, as one person sees it. ``follow`` is the selector of a link to click on first.

    Without a ``height`` it is as high as its page, else it is cut off there.
    """

    name: str
    seen_by: tuple[str, str]
    path: str
    follow: str | None = None
    height: int | None = None
    width: int = 1000


PICTURES = (
    Picture("devices", BOB, "/account/devices/"),
    Picture("admin-list", ALICE, "/admin/django_redis_sessions/session/", height=900, width=1280),
    Picture(
        "admin-session",
        ALICE,
        "/admin/django_redis_sessions/session/?q=carol",
        follow="#result_list th a",
        height=1000,
        width=1200,
    ),
)


def take(window: Window, picture: Picture, folder: Path) -> Path:
    """Write the picture."""
    window.open(picture.path)
    if picture.follow is not None:
        window.follow(window.page.locator(picture.follow).first)
    path = folder / f"{picture.name}.png"
    window.page.screenshot(path=path, full_page=picture.height is None, animations="disabled")
    return path


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as directory:
        place = Place(Path(directory))
        site = Site(place, SERVERS["wsgi"])
        try:
            place.manage("demo", "--no-server").check_returncode()
            site.start()
            subprocess.run(
                [sys.executable, "-m", "tools.crowd"],
                cwd=ROOT,
                env={**place.environment, "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROJECT)))},
                check=True,
            )
            with chromium() as browser:
                for login, user_agent in VISITORS:
                    Window(browser.new_context(user_agent=user_agent), site).sign_in(*login)
                for picture in PICTURES:
                    size = {"width": picture.width, "height": picture.height or 400}
                    options = {"viewport": size, "user_agent": CHROME_ON_LINUX}
                    window = Window(
                        browser.new_context(locale="en-GB", color_scheme="light", **options), site
                    )
                    window.sign_in(*picture.seen_by)
                    path = take(window, picture, folder)
                    print(f"{path.stat().st_size / 1000:6.1f} kB  {path}")
                    window.close()
        except Missing as missing:
            sys.exit(str(missing))
        finally:
            site.stop()
            end_by_force(place)


if __name__ == "__main__":
    main()
