"""Every table of single sign-on, declared on the one metadata.

No column holds a password, token, code or address that could be used as it stands: tokens are SHA-256, passwords PBKDF2
and then Fernet, addresses and secrets of second factors are under the person's own key (`sso.privacy`).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from security.database import Json, UtcDateTime, metadata

ID = String(40)
DIGEST = String(64)
#: Ids of public things: random, and no secrets.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

users = Table(
    "sso_users",
    metadata,
    Column("id", ID, primary_key=True),
    Column("username", String(64), nullable=False),
    # The canonical name; of a deleted account "#" and a keyed digest of it.
    Column("username_key", String(80), nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("email_digest", DIGEST, unique=True),
    Column("display_name", Text, nullable=False),
    Column("name_key", String(256), index=True),
    Column("language", String(16), nullable=False),
    Column("password", Text),
    Column("password_set_at", UtcDateTime),
    Column("must_change", Boolean, nullable=False),
    Column("password_disabled", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("state_at", UtcDateTime, nullable=False),
    Column("state_by", ID, nullable=False),
    Column("session_epoch", Integer, nullable=False),
    Column("is_super_user", Boolean, nullable=False),
    Column("roles", Json, nullable=False),
    Column("addresses", Json, nullable=False),
    # The person's own key under the installation's; without it nothing of theirs can be read again.
    Column("key_box", Text),
    Column("created_at", UtcDateTime, nullable=False),
    # When the password was set of whose end the person was told last.
    Column("warned_of", UtcDateTime),
)

#: Passwords that were replaced, as far back as the settings say that none may come again.
old_passwords = Table(
    "sso_old_passwords",
    metadata,
    Column("user_id", ID, ForeignKey("sso_users.id"), primary_key=True),
    Column("until", UtcDateTime, primary_key=True),
    Column("password", Text, nullable=False),
)

sessions = Table(
    "sso_sessions",
    metadata,
    Column("token_digest", DIGEST, primary_key=True),
    Column("id", ID, nullable=False, unique=True),
    Column("user_id", ID, ForeignKey("sso_users.id"), nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("app", String(100), nullable=False),
    Column("address", String(64), nullable=False),
    Column("user_agent", String(200), nullable=False),
    Column("methods", Json, nullable=False),
    Column("authenticated_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("idle_until", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False, index=True),
    Column("previous_digest", DIGEST, index=True),
    Column("previous_until", UtcDateTime),
)

totp = Table(
    "sso_totp",
    metadata,
    Column("user_id", ID, ForeignKey("sso_users.id"), primary_key=True),
    Column("secret_box", Text, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("confirmed_at", UtcDateTime, nullable=False),
)

recovery_codes = Table(
    "sso_recovery_codes",
    metadata,
    Column("user_id", ID, ForeignKey("sso_users.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("used_at", UtcDateTime),
)

#: Passkeys (WebAuthn). The public key is no secret; the name that the person gave is under their own key.
passkeys = Table(
    "sso_passkeys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("user_id", ID, ForeignKey("sso_users.id"), nullable=False, index=True),
    Column("credential_digest", DIGEST, nullable=False, unique=True),
    Column("credential_id", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("name_box", Text, nullable=False),
    Column("transports", Json, nullable=False),
    Column("backup_eligible", Boolean, nullable=False),
    Column("backed_up", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
)

#: Challenges that were answered, until they could no longer be answered anyway.
spent_challenges = Table(
    "sso_spent_challenges",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

#: What applications prove themselves by.
app_credentials = Table(
    "sso_app_credentials",
    metadata,
    Column("id", ID, primary_key=True),
    Column("app", String(100), nullable=False, index=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", ID, nullable=False),
    Column("expires_at", UtcDateTime),
)

attributes = Table(
    "sso_attributes",
    metadata,
    Column("owner_id", ID, primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("user_id", ID, ForeignKey("sso_users.id"), nullable=False, index=True),
    Column("value", Text, nullable=False),
    Column("encrypted", Boolean, nullable=False),
    Column("expires_at", UtcDateTime, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

links = Table(
    "sso_links",
    metadata,
    Column("id", ID, primary_key=True),
    Column("definition", String(200), nullable=False),
    Column("principal", String(200), nullable=False),
    Column("user_id", ID, ForeignKey("sso_users.id"), nullable=False, index=True),
    Column("second_factor", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("definition", "principal"),
)

tokens = Table(
    "sso_tokens",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("user_id", ID, ForeignKey("sso_users.id"), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("payload", Json, nullable=False),
    Index("ix_sso_tokens_user_id_kind", "user_id", "kind"),
)

throttles = Table(
    "sso_throttles",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False, index=True),
)

letters = Table(
    "sso_letters",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("user_id", ID, nullable=False, index=True),
    Column("box", Text, nullable=False),
    Column("due_at", UtcDateTime, nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("posted_at", UtcDateTime),
    # When nobody tries any more; such a letter stays to be looked at.
    Column("given_up_at", UtcDateTime),
    Column("error", String(500)),
)

audit = Table(
    "sso_audit",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("cid", String(64), nullable=False),
    Column("action", String(64), nullable=False, index=True),
    Column("result", String(16), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("actor", ID, nullable=False, index=True),
    Column("target", ID, nullable=False, index=True),
    Column("app", String(100), nullable=False),
    Column("address", String(64), nullable=False),
    Column("details", Json, nullable=False),
    Column("mac", DIGEST, nullable=False),
)

audit_head = Table(
    "sso_audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("mac", DIGEST, nullable=False),
)

#: Keys that outlive a change of the keyring's active key: of the digests that addresses are found by, and of the audit.
keys = Table(
    "sso_keys",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("box", Text, nullable=False),
)


def new_id(prefix: str, random: bytes) -> str:
    """A public id: ``usr_`` and 26 letters and digits of 16 and more *random* bytes."""
    number = int.from_bytes(random)
    return prefix + "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(26))
