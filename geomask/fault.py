"""What a request that failed means: another try may do better, another signature may, or it is over.

obstore's errors quote the whole address, and bodies of answers in which servers repeat signatures and tokens. What is
raised here says what matters in words of its own, and none of obstore's errors is its cause.
"""

from __future__ import annotations

import re

from .errors import FetchError
from .signing import unsigned
from .store import no_credentials

#: Where obstore asks for credentials when it has been given none: services inside a cloud's own machines.
_METADATA = re.compile(r"/latest/(?:api/token|meta-data)|/computeMetadata/|/metadata/identity/|169\.254\.169\.254")
_BUSY = (408, 425, 429)


class PassingError(FetchError):
    """Another try may do better."""


class DeniedError(FetchError):
    """Another signature may do better."""


def explain(href: str, start: int, error: Exception) -> FetchError:
    """The error to raise, for one of obstore's or of Python's that a request of bytes from `start` ended with."""
    from obstore.exceptions import NotFoundError, NotSupportedError, PermissionDeniedError, UnauthenticatedError

    href, text = unsigned(href), str(error)
    status, reason = _status(text), describe(error)
    if _METADATA.search(text) and status < 500:
        return FetchError(no_credentials(href))
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)) or "ExpiredToken" in text:
        return DeniedError(f"{href}: access denied; sign the items or give credentials")
    if isinstance(error, (NotFoundError, FileNotFoundError)) and status in (0, 404):
        return FetchError(f"{href}: no such file")
    if isinstance(error, NotSupportedError) or "non-partial response" in text:
        return FetchError(f"{href}: its server ignores byte ranges; copy the file to one that knows them")
    if status == 416 or "Requested range was invalid" in text:
        return FetchError(f"{href} ends before byte {start}" if start else f"{href} is empty")
    if "redirect without LOCATION" in text:
        return FetchError(f"{href}: its bucket lies in another region; set AWS_REGION")
    if isinstance(error, ValueError) or (300 <= status < 500 and status not in _BUSY):
        return FetchError(f"{href}: {reason}")
    return PassingError(reason)


def _status(text: str) -> int:
    """The status of a server's answer; 0 where it did not answer."""
    match = re.search(r"non-2xx status code: ([0-9]{3})", text)
    return int(match[1]) if match else 0


def describe(error: Exception) -> str:
    """One line without an address: the status and a cloud's name for the error, or what failed on the way."""
    text = str(error).strip()
    if answer := re.search(r"non-2xx status code: ([0-9]{3}(?: [A-Z][A-Za-z' -]*)?)", text):
        code = re.search(r"<Code>([A-Za-z]{1,40})</Code>", text)
        return f"its server says {answer[1]}{f' ({code[1]})' if code else ''}"
    first = text.splitlines()[0] if text else type(error).__name__
    cause = re.search(r'ConnectError\(\s*"([a-z ]+)"', text)  # "dns error", "tcp connect error"
    said = re.sub(
        r"(?:Generic \w+ error: )?(?:Error performing [A-Z]+ \S+ in \S+ - )?(?:HTTP error: )?", "", first, count=1
    )
    said = re.sub(r"\S+://\S+", "its address", said)
    return f"{said} ({cause[1]})" if cause else said
