# SPDX-License-Identifier: Apache-2.0
"""Response ids: what two spans must both know to be about the same response."""

import re
from typing import Final, NamedTuple

from microdollar_exporter.evidence import Evidence
from microdollar_exporter.response_ids import true_response_id

__all__ = ["ANTHROPIC_REQUEST_ID", "Key", "request_key", "response_key"]

ANTHROPIC_REQUEST_ID: Final = "anthropic.request.id"
"""Where Anthropic's SDK puts the id that Claude Code reports as that of the response."""

_INVENTED: Final = ("aitxt-", "aiobj-")
"""How ids begin that the AI SDK makes up where the provider gave none."""
_REQUEST: Final = "req_"

_FORM = re.compile(r"(?:[a-z]+[-_])*", re.ASCII)
_PARTS = re.compile(r"[0-9A-Za-z]+", re.ASCII)
_FEWEST_CHARACTERS: Final = 16
_FEWEST_DIGITS: Final = 18
_FEWEST_DIFFERENT: Final = 8


class Key(NamedTuple):
    """An id of a response or of a request. `strong`: no other call can have it by chance.

    A weak one (Ollama numbers its answers from 0 to 998, mock servers answer with a constant) says
    something only of spans in the same trace and at the same time.
    """

    text: str
    strong: bool

    @property
    def form(self) -> str:
        """The words before the id's own part: `chatcmpl-`, `msg_`.

        Two strong ids of one form are those of two responses. Of two forms one may have been
        given by a gateway on the way.
        """
        return _form(self.text)


def response_key(evidence: Evidence) -> Key | None:
    """The id of the response that a span is about; None when it has none that can be compared."""
    if evidence.response_id is None:
        return None
    text = true_response_id(evidence.response_id)
    if text.startswith((*_INVENTED, _REQUEST)):
        return None
    return Key(text, _is_strong(text))


def request_key(evidence: Evidence) -> Key | None:
    """The id of the HTTP request, which Claude Code reports as that of the response."""
    for text in (evidence.response_id, evidence.details.get(ANTHROPIC_REQUEST_ID)):
        if text is not None and text.startswith(_REQUEST):
            return Key(text, _is_strong(text))
    return None


def _form(text: str) -> str:
    found = _FORM.match(text)
    return found[0] if found else ""


def _is_strong(text: str) -> bool:
    """Whether an id is long and mixed enough to be random: some 64 bits or more.

    A number beside other parts may be the time, and counts for nothing.
    """
    parts = _PARTS.findall(text[len(_form(text)) :])
    own = "".join(part for part in parts if not part.isdigit()) or "".join(parts)
    fewest = _FEWEST_DIGITS if own.isdigit() else _FEWEST_CHARACTERS
    return (
        len(own) >= fewest
        and len(set(own)) >= _FEWEST_DIFFERENT
        and (any(character.isdigit() for character in own) or _is_shuffled(own))
    )


def _is_shuffled(letters: str) -> bool:
    """Whether letters are of both cases alike, as in no words.

    OpenAI's ids are 29 characters of digits and letters: of 170 one has no digit.
    """
    capitals = sum(character.isupper() for character in letters)
    return len(letters) <= 3 * capitals <= 2 * len(letters)
