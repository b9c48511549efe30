# SPDX-License-Identifier: Apache-2.0
"""What emitters mean by their counts: one word for each way in which they differ."""

from enum import Enum, IntEnum, auto

__all__ = ["Agents", "Cache", "Output", "Rank"]


class Cache(Enum):
    """Whether the input count includes what was read from and written to a cache."""

    DEFINED = auto()
    """It includes them by our own conventions, whatever the counts seem to say."""
    INCLUDED = auto()
    """It includes them, as OpenTelemetry defines it since v1.40."""
    EXCLUDED = auto()
    """It does not, as in Anthropic's and Bedrock's own counts."""
    ASSUMED = auto()
    """Nobody knows this emitter; taken as OpenTelemetry defines it."""
    UNKNOWN = auto()
    """This emitter does both, and its spans do not say which."""


class Output(Enum):
    """What the output count holds."""

    ALL = auto()
    """All output, reasoning included."""
    WITHOUT_THOUGHTS = auto()
    """A Gemini answer without its thoughts, which the total includes."""
    HIGH_IN_STREAMS = auto()
    """All output, and in streams a few tokens counted twice."""
    GUESSED_IN_STREAMS = auto()
    """In streams perhaps the emitter's guess, which does not say so."""


class Agents(Enum):
    """What usage on an `invoke_agent` span is."""

    LOOPS = auto()
    """The sum of calls that have spans of their own: never billed."""
    REMOTE_IF_CLIENT = auto()
    """That of an agent elsewhere if the span is of kind CLIENT, else as `LOOPS`."""
    REMOTE = auto()
    """That of an agent elsewhere."""


class Rank(IntEnum):
    """Which of several witnesses of one call is believed: the lowest."""

    OURS = 0
    VENDOR = 1
    OPENTELEMETRY = 2
    OPENINFERENCE = 3
    OPENLLMETRY = 4
    FRAMEWORK = 5
    GATEWAY = 6
    WRAPPER = 7
