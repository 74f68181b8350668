"""What names a model on a hub: ``owner/name``, with a revision, or a pasted address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_there

_ID = re.compile(
    r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(?:/(?P<file>[\w./ -]+\.safetensors))?"
    r"(?:@(?P<revision>[\w./-]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_OTHER_KINDS = ("datasets", "spaces", "collections", "papers", "docs", "models")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on a hub.

    Attributes
    ----------
    name : str
        ``owner/name``.
    revision : str or None
        Branch, tag or commit; None for the main branch.
    file : str or None
        A single file of it that holds the whole model.
    """

    name: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        """Return a reference to the model, as `parse` reads it."""
        name = self.name if self.file is None else f"{self.name}/{self.file}"
        return name if self.revision is None else f"{name}@{self.revision}"

    @property
    def address(self) -> str:
        """Page of the model, for people."""
        return f"{endpoint()}/{self.name}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> HubModel:
        """Return the same model at a commit."""
        return HubModel(self.name, commit, self.file)

    @classmethod
    def parse(cls, reference: str) -> HubModel | None:
        """Return the model that a reference names; None if it names none.

        Parameters
        ----------
        reference : str
            ``owner/name``, or ``owner/name/file.safetensors`` for a model in a single file, either
            with ``@revision``; or the address of the page of a model, of one of its revisions or of
            one of its files.

        Raises
        ------
        InputError
            If it is an address of something else.
        """
        if _is_address(reference):
            return cls._from_address(reference)
        found = _ID.fullmatch(reference)
        # if the part before the slash is an existing folder, it is a mistyped path
        if found is None or is_there(reference.partition("/")[0]):
            return None
        return cls(found["name"], found["revision"], found["file"])

    @classmethod
    def _from_address(cls, address: str) -> HubModel:
        parts = urlsplit(address if "://" in address else f"https://{address}")
        words = [unquote(word) for word in parts.path.split("/") if word]
        hosts = (*_HOSTS, urlsplit(endpoint()).netloc)
        if parts.netloc not in hosts or len(words) < 2 or words[0] in _OTHER_KINDS:
            raise InputError(
                f"{address} is not the address of a model on a hub: give owner/name, or an address "
                "such as https://huggingface.co/owner/name."
            )
        name, kind, rest = "/".join(words[:2]), words[2:3], words[3:]
        if not kind or not rest:
            return cls(name)
        if kind[0] in ("tree", "commit"):
            return cls(name, rest[0])
        if kind[0] in ("blob", "resolve") and len(rest) > 1:
            return cls(name, rest[0], "/".join(rest[1:]))
        raise InputError(
            f"{address} is not the address of a model or of a file of it: give the page of the "
            f"model, {endpoint()}/{name}, or {name}."
        )


def _is_address(reference: str) -> bool:
    hosts = (*_HOSTS, urlsplit(endpoint()).netloc)
    return reference.startswith(("http://", "https://", *(f"{host}/" for host in hosts)))


def endpoint() -> str:
    """Return the address of the hub, which the user can choose by HF_ENDPOINT."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
