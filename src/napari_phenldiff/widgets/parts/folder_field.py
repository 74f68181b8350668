"""A field for a folder: typed, browsed for, or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QPushButton, QWidget

from napari_phenldiff.images.spreadsheet import TABLE_SUFFIXES


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that may stand in place of a folder.

    Attributes
    ----------
    name : str
        What it is called, in the plural with a capital.
    action : str
        What browsing for it is called.
    suffixes : tuple of str
        What such a file's name ends with, in lower case.
    """

    name: str
    action: str
    suffixes: tuple[str, ...]

    def is_one(self, path: Path) -> bool:
        """Whether a path is that of such a file."""
        return path.is_file() and path.suffix.lower() in self.suffixes


TABLES = FileKind("Tables", "Table …", tuple(TABLE_SUFFIXES))
CHECKPOINTS = FileKind("Checkpoints", "Single file …", (".safetensors",))


class FolderField(QWidget):
    """Path of a folder, with a button to browse.

    Parameters
    ----------
    placeholder : str
        What the empty field says.
    new : bool
        Whether the folder need not exist: one is made, not opened.
    files : FileKind, optional
        What may be given in place of a folder.
    """

    changed = Signal()

    def __init__(
        self, placeholder: str = "", *, new: bool = False, files: FileKind | None = None
    ) -> None:
        super().__init__()
        self._new = new
        self._files = files
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(placeholder)
        self.edit.setClearButtonEnabled(False)
        self.edit.setMinimumWidth(60)
        self.button = QPushButton("…")
        self.button.setFixedWidth(28)
        self.button.setToolTip("Browse for a folder")
        self.button.setAccessibleName("Browse for a folder")
        self.button.clicked.connect(self._browse)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.edit, 1)
        layout.addWidget(self.button)
        self.edit.textChanged.connect(self._on_text)
        self.setFocusProxy(self.edit)
        self.setAcceptDrops(True)
        self.edit.setAcceptDrops(False)

    def path(self) -> Path | None:
        """Return the folder, None if the field is empty."""
        text = self.edit.text().strip()
        try:
            return Path(text).expanduser() if text else None
        except RuntimeError:  # the home of somebody who isn't there, as while it is typed
            return Path(text)

    def set_path(self, path: Path | None) -> None:
        """Show another folder."""
        self.edit.setText("" if path is None else short_path(path))

    def _on_text(self) -> None:
        # A long path is cut off in the field; the tooltip has it whole, before what it is for.
        lines = [str(self.path() or ""), self.toolTip()]
        self.edit.setToolTip("\n".join(filter(None, lines)))
        self.changed.emit()

    def _browse(self) -> None:
        start = self.path() or Path.home()
        if self._files is not None:
            menu = QMenu(self)
            menu.addAction("Folder …")
            file = menu.addAction(self._files.action)
            wanted = menu.exec(self.button.mapToGlobal(self.button.rect().bottomLeft()))
            if wanted is None:
                return
            chosen = (
                _ask_for_file(self, start, self._files)
                if wanted is file
                else _ask_for_folder(self, start)
            )
        elif self._new:
            chosen, _ = QFileDialog.getSaveFileName(
                self, "New folder", str(start), options=QFileDialog.Option.ShowDirsOnly
            )
        else:
            chosen = _ask_for_folder(self, start)
        if chosen:
            self.set_path(Path(chosen))

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept a folder, or a file that may stand in its place."""
        if event is not None and _folder_in(event, self._files) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take the folder or file that was dropped."""
        folder = None if event is None else _folder_in(event, self._files)
        if event is not None and folder is not None:
            self.set_path(folder)
            event.acceptProposedAction()


class TableField(FolderField):
    """Path of a table, with a button to browse."""

    def __init__(self, placeholder: str = "") -> None:
        super().__init__(placeholder, files=TABLES)
        self.button.setToolTip("Browse for a table")
        self.button.setAccessibleName("Browse for a table")

    def _browse(self) -> None:
        chosen = _ask_for_file(self, self.path() or Path.home(), TABLES)
        if chosen:
            self.set_path(Path(chosen))


def _ask_for_folder(parent: QWidget, start: Path) -> str:
    return str(QFileDialog.getExistingDirectory(parent, "Choose a folder", str(start)))


def _ask_for_file(parent: QWidget, start: Path, files: FileKind) -> str:
    kinds = " ".join(f"*{suffix}" for suffix in files.suffixes)
    what = files.action.removesuffix(" …").lower()
    chosen, _ = QFileDialog.getOpenFileName(
        parent, f"Choose a {what}", str(start), f"{files.name} ({kinds});;All files (*)"
    )
    return str(chosen)


def short_path(path: Path) -> str:
    """Return a path as it is shown: what tells folders apart is its end."""
    if path.is_relative_to(Path.home()):
        return str(Path("~") / path.relative_to(Path.home()))
    return str(path)


def _folder_in(event: QDropEvent, files: FileKind | None = None) -> Path | None:
    data = event.mimeData()
    paths = [Path(url.toLocalFile()) for url in data.urls()] if data is not None else []
    wanted = (p for p in paths if p.is_dir() or (files is not None and files.is_one(p)))
    return next(wanted, None)
