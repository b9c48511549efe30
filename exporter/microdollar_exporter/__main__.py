# SPDX-License-Identifier: Apache-2.0
"""`python -m microdollar_exporter` is the `microdollar` command."""

from microdollar_exporter.cli import main

main()
