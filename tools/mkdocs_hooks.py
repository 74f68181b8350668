"""Hooks of the documentation's build, named in mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles that docstrings mark names with: mkdocs shows them as text."""
    return _ROLE.sub("", html)
