# SPDX-License-Identifier: Apache-2.0
"""Meters every call an app makes to an LLM provider, per end customer.

Start the app with `opentelemetry-instrument`, or call `instrument()` once at its start. Say whom a
call is made for with `customer`.
"""

from microdollar._customer import customer
from microdollar._lifecycle import flush, instrument, uninstrument

__all__ = ["customer", "flush", "instrument", "uninstrument"]
