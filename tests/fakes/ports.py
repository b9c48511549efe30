# SPDX-License-Identifier: Apache-2.0
"""Ports of the loopback that are free now, for servers that have to be told theirs."""

import socket

__all__ = ["free_ports"]


def free_ports(count: int) -> list[int]:
    """That many different free ports."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
