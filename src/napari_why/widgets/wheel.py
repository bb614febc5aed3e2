"""The mouse wheel scrolls a dock and never changes a value that nobody clicked at before."""

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QScrollBar,
    QTabBar,
    QWidget,
)

# Widgets whose value the wheel changes.
TURNED = (QAbstractSpinBox, QComboBox, QAbstractSlider, QTabBar)


def ignore_wheel_without_focus(widget: QWidget) -> None:
    """Let the wheel scroll over boxes in a widget, and change only the one that has the focus.

    Boxes that come into the widget later behave so too.

    Parameters
    ----------
    widget : QWidget
        A dock, say.
    """
    _WheelFilter(widget).watch(widget)


class _WheelFilter(QObject):
    """Keeps the wheel from boxes without focus, and watches containers for boxes that come."""

    def watch(self, widget: QWidget) -> None:
        """Watch a widget and what is in it."""
        for each in (widget, *widget.findChildren(QWidget)):
            if _is_turned(each):
                # the wheel alone would give the focus otherwise
                if each.focusPolicy() == Qt.FocusPolicy.WheelFocus:
                    each.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                each.installEventFilter(self)
            elif each.layout() is not None or each is widget or each.children():
                each.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (the name is Qt's)
        """Pass a wheel turn on to what lies around the box, which scrolls."""
        if event.type() == QEvent.Type.Wheel:
            if isinstance(watched, QWidget) and _is_turned(watched) and not watched.hasFocus():
                event.ignore()
                return True
        elif event.type() == QEvent.Type.ChildPolished:
            # polished, not only added: by then Python and Qt agree on what kind of widget it is
            child = event.child()  # type: ignore[attr-defined]
            if isinstance(child, QWidget):
                self.watch(child)
        return False


def _is_turned(widget: QWidget) -> bool:
    return isinstance(widget, TURNED) and not isinstance(widget, QScrollBar)
