# SPDX-License-Identifier: Apache-2.0
"""What an operator knows better than a book of list prices: one TOML file, laid over the book.

`read` takes the file or says, with line, field and value, what is wrong with it; `Overrides.over`
makes another immutable book of it, in which the source's rows stay and the operator's are named.
"""

from microdollar_exporter.price.overrides.file import Overrides, parse, read

__all__ = ["Overrides", "parse", "read"]
