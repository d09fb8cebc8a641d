"""Vault's Transit engine as the key of keys: what wraps the keys of a key file, so that the file alone opens nothing.

Vault is asked once, when the file is opened or has changed; never for a single secret. While it is down nothing starts, and what
runs goes on. The token comes from ``GATEWRIGHT_VAULT_TOKEN``, or from the file that ``GATEWRIGHT_VAULT_TOKEN_FILE`` names (an
agent of Vault's may keep it fresh). It needs ``update`` on ``MOUNT/encrypt/KEY``, ``MOUNT/decrypt/KEY`` and ``MOUNT/rewrap/KEY``.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from specs.problems import ConfigurationError

MEMBERS = ("url", "mount", "key", "namespace", "ca")
TOKEN, TOKEN_FILE = "GATEWRIGHT_VAULT_TOKEN", "GATEWRIGHT_VAULT_TOKEN_FILE"
TIMEOUT = 10


class Transit(NamedTuple):
    """One key of a Transit engine. *mount* is where the engine is, *ca* a file of authorities to trust."""

    url: str
    key: str
    mount: str = "transit"
    namespace: str = ""
    ca: str = ""

    @classmethod
    def of(cls, place: Mapping[str, str]) -> Transit:
        """The one that a key file names. Raises ConfigurationError."""
        unknown = set(place) - set(MEMBERS)
        if unknown or not place.get("url") or not place.get("key"):
            raise ConfigurationError("keys", "the key file does not say which key of Vault's", "it needs url and key")
        return cls(**place)

    def as_place(self) -> dict[str, str]:
        """What the key file says of it."""
        return {name: value for name, value in self._asdict().items() if value}

    def wrap(self, keys: Sequence[bytes]) -> list[str]:
        """*keys* as Vault encrypted them. Raises ConfigurationError."""
        texts = [{"plaintext": base64.b64encode(key).decode()} for key in keys]
        return self._each("encrypt_data", "plaintext", texts, "ciphertext")

    def unwrap(self, texts: Sequence[str]) -> list[bytes]:
        """The keys that Vault finds in *texts*. Raises ConfigurationError."""
        wrapped = [{"ciphertext": text} for text in texts]
        found = self._each("decrypt_data", "ciphertext", wrapped, "plaintext")
        try:
            return [base64.b64decode(text, validate=True) for text in found]
        except binascii.Error:
            raise self._refused("its answer holds no keys") from None

    def rewrap(self, texts: Sequence[str]) -> list[str]:
        """*texts* under the newest version of Vault's key; Vault shows nobody what is in them. Raises ConfigurationError."""
        wrapped = [{"ciphertext": text} for text in texts]
        return self._each("rewrap_data", "ciphertext", wrapped, "ciphertext")

    def _each(self, method: str, named: str, items: list[dict[str, str]], member: str) -> list[str]:
        import hvac
        import requests

        try:
            client = hvac.Client(
                url=self.url,
                token=_token(),
                namespace=self.namespace or None,
                verify=self.ca or True,
                timeout=TIMEOUT,
                strict_http=True,
            )
            # WHY: one call for all of them; the first argument is not looked at beside a batch, but hvac wants one.
            answer: Any = getattr(client.secrets.transit, method)(
                name=self.key, mount_point=self.mount, batch_input=items, **{named: None}
            )
            results = answer["data"]["batch_results"]
            faults = [one["error"] for one in results if one.get("error")]
            if faults or len(results) != len(items):
                raise self._refused(str(faults[0]) if faults else "it did not answer for each key")
            return [str(one[member]) for one in results]
        except hvac.exceptions.VaultError as error:
            raise self._refused(str(error).replace("\n", " ")) from None
        except (requests.RequestException, OSError) as error:
            raise ConfigurationError(
                "keys", f"Vault at {self.url} does not answer ({type(error).__name__})", "start it, or mend its address"
            ) from None
        except (KeyError, TypeError):
            raise self._refused("its answer is none of Transit's") from None

    def _refused(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            "keys",
            f"Vault at {self.url} does not serve the key '{self.key}' of '{self.mount}': {why}",
            f"look at the policy of the token in {TOKEN} or {TOKEN_FILE}",
        )


def _token() -> str:
    named = os.environ.get(TOKEN_FILE, "")
    if named:
        try:
            return Path(named).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(TOKEN_FILE, f"cannot read {named}", (error.strerror or "").lower()) from None
    found = os.environ.get(TOKEN, "")
    if not found:
        raise ConfigurationError("keys", "the keys are wrapped by Vault, and there is no token for it", f"set {TOKEN}")
    return found
