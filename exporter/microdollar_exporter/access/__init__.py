# SPDX-License-Identifier: Apache-2.0
"""Who may do what at the doors: tokens and their scopes, certificates, and who is let in."""
