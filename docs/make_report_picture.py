"""Make a picture of a screen's report, as a browser shows it.

Usage, with a display or under Xvfb, and with PySide6's QtWebEngine (no dependency of napari-why)::

    xvfb-run -a python docs/make_report_picture.py RESULTS/report.html PICTURE.png [ANCHOR]

``ANCHOR`` is a place of the page, such as ``pictures``; its top by default. As root Chromium needs ``QTWEBENGINE_DISABLE_SANDBOX=1``.
"""

import sys
from pathlib import Path

from PySide6.QtCore import QSize, QTimer, QUrl
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication

WIDTH, HEIGHT = 1160, 1500  # the page's own width and margins; about a screen and a half of it
# Milliseconds after which what was loaded is drawn too.
DRAWN = 2000


def main(page: Path, picture: Path, anchor: str = "") -> None:
    """Open the page, wait until it is drawn, and write what is seen."""
    application = QApplication(sys.argv[:1])
    view = QWebEngineView()
    view.resize(QSize(WIDTH, HEIGHT))

    def save() -> None:
        view.grab().save(str(picture))
        application.quit()

    view.loadFinished.connect(lambda _: QTimer.singleShot(DRAWN, save))
    address = QUrl.fromLocalFile(str(page.resolve()))
    address.setFragment(anchor)
    view.load(address)
    view.show()
    application.exec()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
