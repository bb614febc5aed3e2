"""The question what the axes of a file are, where the file does not tell."""

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_why.core.errors import AmbiguousAxesError, AxesChoice


class AxesQuestion(QWidget):
    """The question in words, the possible answers, and a button that takes one.

    It stays after the answer, so that another can be given when the image looks wrong.

    Attributes
    ----------
    answered : Signal(AxesChoice)
    """

    answered = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices: tuple[AxesChoice, ...] = ()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.choice = QComboBox()
        self.choice.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.choice.setToolTip(
            "The letters are the axes as napari_why.read takes them, slowest first"
        )
        self.button = QPushButton("Read it so")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 6)
        column.addWidget(self.words)
        column.addWidget(self.choice)
        column.addWidget(self.button)
        self.button.clicked.connect(self._answer)
        self.hide()

    def ask(self, question: AmbiguousAxesError) -> None:
        """Show a question and its answers."""
        self._choices = question.choices
        self.words.setText(
            f"<b>How is {escape(question.path.name)} to be read?</b><br>Found "
            f"{escape(question.found)}; expected {escape(question.expected)}. The answer holds for the other files of this shape too."
        )
        self.choice.clear()
        for choice in question.choices:
            self.choice.addItem(f"{choice.axes}: {choice.words}")
        self.show()

    def _answer(self) -> None:
        index = self.choice.currentIndex()
        if 0 <= index < len(self._choices):
            self.answered.emit(self._choices[index])
