"""Sealed tokens: session ids and cursors that carry their own meaning, so that any coordinator serves any of them.

No I/O and no clock (`now` comes in). AES-256-GCM under a key derived from the machine key for one purpose; the
principal is bound as associated data. A token that was stolen, forged, outdated or made for another purpose reads the
same as one that never existed: `None`.
"""

import base64
import binascii
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MACHINE_KEY = 32
_NONCE = 12
_EXPIRY = struct.Struct(">d")


class Sealer:
    """Seals and opens the tokens of one purpose (`session`, `cursor`)."""

    def __init__(self, machine_key: bytes, purpose: str) -> None:
        """`machine_key`: 32 random bytes. Raises `ValueError` on a shorter one."""
        if len(machine_key) < MACHINE_KEY:
            raise ValueError(f"the machine key has {len(machine_key)} bytes, {MACHINE_KEY} are needed")
        info = f"central-mcp token {purpose}".encode()
        self._cipher = AESGCM(HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(machine_key))

    def seal(self, principal: str, data: bytes, expires: float) -> str:
        """A token of visible ASCII that only `principal` can use until `expires` (Unix time)."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, _EXPIRY.pack(expires) + data, principal.encode())
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, principal: str, token: str, now: float) -> bytes | None:
        """The data, or None: never say more to whoever tries."""
        try:
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True)
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], principal.encode())
        except (InvalidTag, ValueError, binascii.Error):
            return None
        (expires,) = _EXPIRY.unpack_from(plain)
        return plain[_EXPIRY.size :] if now < expires else None
