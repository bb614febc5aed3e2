"""What a dock has to say, in plain words inside the dock."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_why.core.errors import WhyError

COLOURS = {"information": "", "warning": "#e0a030", "error": "#ff6b60"}


def in_words(error: Exception) -> str:
    """Tell a user what went wrong and what to do.

    Examples
    --------
    >>> in_words(MemoryError())
    'Not enough memory. Close other programs, or choose fewer steps or a smaller batch or image size.'
    """
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return (
            "Not enough memory. Close other programs, or choose fewer steps or a smaller batch "
            "or image size."
            + (" The processor (device: cpu) has more memory than a GPU." if _on_gpu(error) else "")
        )
    if isinstance(error, WhyError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The file'}: {error.strerror}."
    return f"This failed unexpectedly ({type(error).__name__}: {error}). The log has the details."


def as_sentence(note: str) -> str:
    """Write a note with a capital and a full stop.

    Examples
    --------
    >>> as_sentence("a pixel is 0.3 um")
    'A pixel is 0.3 um.'
    """
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


def _on_gpu(error: Exception) -> bool:
    text = str(error).lower()
    return "cuda" in text or "mps" in text


class MessageArea(QLabel):
    """A line or more of text that is empty, and takes no room, when there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = "information"
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.clear()

    def tell(self, text: str, kind: str = "information") -> None:
        """Show a sentence; ``kind`` is information, warning or error."""
        self.kind = kind
        colour = COLOURS[kind]
        self.setStyleSheet(f"color: {colour};" if colour else "")
        self.setText(text)
        self.setVisible(bool(text))

    def tell_error(self, error: Exception) -> None:
        """Show in words what went wrong."""
        self.tell(in_words(error), "error")

    def clear(self) -> None:
        """Say nothing."""
        self.tell("")
