"""A hub of models on loopback: what huggingface_hub asks of one, with everything that goes wrong.

Imitates the interface of the Hugging Face hub: listings with sizes and hashes, revisions, etags,
redirects of large files, ranges, and the statuses and error codes for what is missing, gated,
private or busy.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_API = re.compile(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?")
_LARGE = (".safetensors", ".bin", ".ckpt")


@dataclass
class Repository:
    """A model on the hub.

    Attributes
    ----------
    commits : dict of str to dict of str to bytes
        The files of each commit, by name.
    branches : dict of str to str
        Commits of branches.
    access : str
        ``"public"``, ``"gated"`` or ``"private"``.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    access: str = "public"

    def commit(self, folder: Path, branch: str = "main") -> str:
        """Add the files of a folder as a commit; returns its hash."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        total = hashlib.sha1(repr(sorted(files)).encode())
        for content in files.values():
            total.update(content)
        self.commits[total.hexdigest()] = files
        self.branches[branch] = total.hexdigest()
        return total.hexdigest()


@dataclass
class LocalHub:
    """The hub: its models, and what was asked of it.

    Attributes
    ----------
    asked : list of str
        ``METHOD path`` of every request about a model.
    served : dict of str to int
        Bytes sent of each large file, by its name.
    cuts : int
        How many answers still to cut after `cut_after` bytes.
    busy : int
        How many requests still to answer with 503.
    pause : float
        Seconds that each eighth of a large file takes.
    ranges : bool
        Whether parts of a file are sent; otherwise all of it, whatever is asked for.
    leaked : bool
        Whether a token was sent to the host of large files.
    granted, known : set of str
        Tokens that may read gated models, and those that are valid.
    """

    endpoint: str = ""
    models: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    served: dict[str, int] = field(default_factory=dict)
    cuts: int = 0
    cut_after: int = 1000
    busy: int = 0
    pause: float = 0.0
    ranges: bool = True
    leaked: bool = False
    granted: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    def add(self, name: str, folder: Path, **values: str) -> Repository:
        """Add a model with one commit."""
        self.models[name] = Repository(**values)
        self.models[name].commit(folder)
        return self.models[name]

    def fetched(self) -> set[str]:
        """Names of the large files of which anything was sent."""
        return set(self.served)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # whoever asked may be gone
            super().handle()

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        if path.startswith("/api/") and not path.startswith("/api/models/"):
            return self._send(404, {})  # what its client asks for its own sake
        hub.asked.append(f"{self.command} {unquote(path)}")
        if hub.busy:
            hub.busy -= 1
            return self._send(503, {"X-Error-Message": "busy"})
        if path.startswith("/cdn/"):
            hub.leaked |= "Authorization" in self.headers
            return self._large(unquote(path))
        listing, file = _API.fullmatch(path), _RESOLVE.fullmatch(path)
        found = listing or file
        if found is None:
            return self._send(404, {})
        repository = hub.models.get(found[1])
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in hub.known:
            message = "Invalid credentials in Authorization header"
            return self._send(401, {"X-Error-Message": message})
        if repository is None or (repository.access == "private" and token not in hub.granted):
            status = 404 if token else 401
            return self._send(status, {"X-Error-Code": "RepoNotFound"})
        revision = unquote(found[2] or "main")  # a slash in it is quoted
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        files = repository.commits[commit]
        if listing:
            return self._list(found[1], commit, files)
        if repository.access == "gated" and token not in hub.granted:
            return self._send(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        return self._file(unquote(file[3]), commit, files, head=head)

    def _list(self, name: str, commit: str, files: dict[str, bytes]) -> None:
        siblings = []
        for path, content in files.items():
            entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": "0" * 40}
            if path.endswith(_LARGE):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        body = json.dumps({"_id": "0", "id": name, "sha": commit, "siblings": siblings}).encode()
        self._send(200, {"Content-Type": "application/json"}, body)

    def _file(self, path: str, commit: str, files: dict[str, bytes], *, head: bool) -> None:
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return self._send(404, headers)
        content = files[path]
        digest = hashlib.sha256(content).hexdigest()
        if not path.endswith(_LARGE):
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
            return self._send(200, headers, content, head=head)
        # large files come from another host, which must not see the token
        elsewhere = self.hub.endpoint.replace("127.0.0.1", "localhost")
        headers = {
            "ETag": f'"{commit}"',
            "X-Linked-ETag": f'"{digest}"',
            "X-Linked-Size": str(len(content)),
            "X-Repo-Commit": commit,
            "Location": f"{elsewhere}/cdn/{digest}/{path}",
        }
        return self._send(302, headers, head=head)

    def _large(self, path: str) -> None:
        hub, (digest, name) = self.hub, path.removeprefix("/cdn/").split("/", 1)
        (content,) = {
            files[name]
            for repository in hub.models.values()
            for files in repository.commits.values()
            if name in files and hashlib.sha256(files[name]).hexdigest() == digest
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status, headers, part = 200, {"ETag": f'"{digest}"'}, content
        if asked and hub.ranges:
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            part, status = content[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        if hub.cuts and len(part) > hub.cut_after:
            hub.cuts -= 1
            sent = part[: hub.cut_after]
        else:
            sent = part
        hub.served[name] = hub.served.get(name, 0) + len(sent)
        self._send(status, headers, sent, length=len(part))

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes = b"",
        *,
        length: int | None = None,
        head: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if length is not None and length > len(body):
            self.close_connection = True
        self.end_headers()
        if head:
            return
        if length is None or not self.hub.pause:
            self.wfile.write(body)
            return
        part = max(1, len(body) // 8)
        for start in range(0, len(body), part):
            time.sleep(self.hub.pause)
            self.wfile.write(body[start : start + part])


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Serve a hub on a free port of this machine."""
    hub = LocalHub()
    handler = type("Answer", (_Answer,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_on_a_hub(base: Path, folder: Path) -> Path:
    """Copy a base as models on hubs are: every network in several precisions and formats."""
    shutil.copytree(base, folder)
    for part in ("unet", "vae"):
        weights = folder / part / "diffusion_pytorch_model.safetensors"
        for other in ("fp16.safetensors", "non_ema.safetensors", "bin", "fp16.bin"):
            (folder / part / f"diffusion_pytorch_model.{other}").write_bytes(weights.read_bytes())
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"text")
    (folder / "text_encoder" / "config.json").write_text("{}")
    (folder / "v1-5.ckpt").write_bytes(b"a whole model")
    (folder / "README.md").write_text("A model.")
    return folder
