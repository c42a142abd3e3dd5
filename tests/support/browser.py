"""A real browser without a window: the distribution's Chromium, driven by selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

T = TypeVar("T")

PROGRAMS = ("chromium", "chromedriver")
TIMEOUT_S = 120.0

needs_browser = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="no browser here: sudo apt install chromium chromium-driver"
)
"""CI installs the two packages, in ``.ci/run``."""


@contextmanager
def open_browser(folder: Path) -> Iterator[Chrome]:
    """Start the browser with a profile of its own, and end it.

    :param folder: for the profile.
    """
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    # Selenium would otherwise look for browsers outside.
    os.environ["SE_OFFLINE"] = "true"
    chromium, driver = (str(shutil.which(program)) for program in PROGRAMS)
    options = ChromeOptions()
    options.binary_location = chromium
    # The sandbox does not start as root; /dev/shm is small in containers.
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-proxy-server"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.add_argument("--window-size=1400,1000")
    browser = Chrome(options=options, service=ChromeService(driver))
    browser.set_page_load_timeout(TIMEOUT_S)
    try:
        yield browser
    finally:
        browser.quit()


class LabPage:
    """The page of a JupyterLab.

    :param url: with its token.
    """

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def open_notebook(self, kernel: str) -> None:
        """Open a new notebook with a kernel, from the launcher."""
        self._click(lambda: self._find(f".jp-LauncherCard[data-category='Notebook'][title^='{kernel}']"))
        # A cell that is run before the kernel is connected is silently dropped.
        self._wait(lambda: "Idle" in self._kernel_state())

    def wait_until_reconnected(self) -> None:
        """Wait until the kernel is connected again; its state is unknown to the page until it runs something."""
        self._wait(lambda: any(state in self._kernel_state() for state in ("Unknown", "Idle")))

    def _kernel_state(self) -> str:
        return str(self._find("#jp-main-statusbar").text)

    def run_cell(self, code: str) -> str:
        """Type code into the last cell, run it, and return its output as the page shows it."""
        from selenium.webdriver import ActionChains, Keys

        cells = self._find_all(".jp-Notebook .jp-CodeCell")
        self._click(lambda: self._find_all(".jp-Notebook .jp-CodeCell .cm-content")[-1])
        ActionChains(self.browser).send_keys(code).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(
            Keys.SHIFT
        ).perform()
        number = len(cells) - 1
        return self._wait(lambda: self._output(number))

    def _output(self, number: int) -> str:
        cell = self._find_all(".jp-Notebook .jp-CodeCell")[number]
        return "\n".join(area.text for area in cell.find_elements("css selector", ".jp-OutputArea-output"))

    def _find(self, selector: str) -> Any:
        return self._wait(lambda: self._find_all(selector))[0]

    def _find_all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def _click(self, find: Callable[[], Any]) -> None:
        """Click on an element as soon as nothing covers it."""

        def click() -> bool:
            # While the connection is lost, a dialog says so, and covers the page until it is dismissed.
            for button in self._find_all(".jp-Dialog button.jp-mod-accept"):
                button.click()
            find().click()
            return True

        self._wait(click)

    def _wait(self, find: Callable[[], T]) -> T:
        """Return what a function finds, once it does: elements of a page come and go while it is drawn."""
        from selenium.common import exceptions
        from selenium.webdriver.support.ui import WebDriverWait

        passing = [
            exceptions.StaleElementReferenceException,
            exceptions.ElementClickInterceptedException,
            exceptions.ElementNotInteractableException,
        ]
        # Typed: selenium need not be installed where the types are checked.
        result: T = WebDriverWait(self.browser, TIMEOUT_S, 0.2, passing).until(lambda browser: find())
        return result
