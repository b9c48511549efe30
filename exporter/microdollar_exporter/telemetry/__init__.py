# SPDX-License-Identifier: Apache-2.0
"""What the exporter says of itself: its log, its metrics and its health, none with content."""
