"""Numbers as they are kept in files."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float that may be NaN: JSON has none, and keeps ``null``."""
