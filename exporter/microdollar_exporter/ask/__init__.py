# SPDX-License-Identifier: Apache-2.0
"""Ask the ledger: reports and read-only SQL, through the running exporter or the file."""
