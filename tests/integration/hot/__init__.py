"""Services' hot ports, in processes of their own, and the programs that others wrote to call them."""

from __future__ import annotations

import pytest

import native

if not native.HOT_PORT:
    pytest.skip("the hot port was not built", allow_module_level=True)
