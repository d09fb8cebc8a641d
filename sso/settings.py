"""The `sso` section of the document: who may sign up and log in, and with what.

>>> Sso.read({"enabled": True, "apps": {"crm": {"login": True}}}).app_of("").name
'crm'
"""

from __future__ import annotations

import re
from email.errors import MessageError
from email.message import EmailMessage
from typing import Literal, NamedTuple

from security.addresses import AddressList
from specs.names import ConnectionName, SecurityName, ServiceName
from specs.problems import ConfigurationError
from specs.settings import Seconds, Settings, setting

#: NIST SP 800-63B: no password is shorter, whatever else protects the account.
FLOOR = 8
#: Each former password costs a hash when a new one is chosen.
MOST_REMEMBERED = 12
#: OWASP Password Storage; ASVS 5.0 appendix C.
FEWEST_ROUNDS = 210_000


#: Log-ins from one address in a minute.
ATTEMPTS = 30


class App(Settings):
    """What people may do through one application."""

    signup: bool = setting("whether people may sign up through it", default=False)
    login: bool = setting("whether people may log in through it", default=False)
    allow: list[str] = setting("networks from which people may log in through it; empty means any", default=[])
    credential: bool = setting(
        "whether it has to prove itself by a credential of its own; its name alone is a claim", default=False
    )
    origins: list[str] = setting(
        "origins of its own pages, which ours send people back to; with a credential, along with a code for a session",
        default=[],
    )
    introspect: Literal["own", "any"] = setting(
        "whose tokens it may ask about, with a credential: those of its own sessions, or any", default="own"
    )

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        check_networks(self.allow, f"{path}.allow")
        check_origins(self.origins, f"{path}.origins")


class Signup(Settings):
    """How an account comes to be."""

    approval: bool = setting("whether a super-user has to approve of each account", default=False)
    email_confirmation: bool = setting("whether the address has to be confirmed", default=True)
    confirmation_lifetime: Seconds = setting("how long a confirmation can be used", default="1d")
    validation_service: ServiceName | None = setting(
        "service that is asked first and may refuse a sign-up", default=None
    )
    callback_services: list[ServiceName] = setting(
        "services that hear of each sign-up, in the background: user_id, username, app and state", default=[]
    )
    reserved_names: list[str] = setting("user names that nobody may sign up with, beside the usual ones", default=[])


class LoginRules(Settings):
    """How often people may try to log in."""

    attempts_per_minute: int = setting(
        "most log-ins a minute from an address (IPv6: its /64), right ones too; 0: any number", default=ATTEMPTS
    )

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.attempts_per_minute < 0:
            raise ConfigurationError(f"{path}.attempts_per_minute", "fewer than none", f"write {ATTEMPTS}")


class PasswordRules(Settings):
    """What a password has to be."""

    min_length: int = setting("fewest characters that a password has", default=15)
    min_length_with_mfa: int = setting("fewest characters where a second factor is always asked for", default=8)
    max_length: int = setting("most characters; a longer one is refused, never cut off", default=256)
    rounds: int = setting("rounds of PBKDF2-SHA512", default=220_000)
    expires_after: Seconds | Literal["never"] = setting("age at which it has to be changed", default="never")
    warn_before: Seconds = setting("how long before its end people are told", default="30d")
    context_words: list[str] = setting("words that no password may consist of, such as the company's", default=[])
    history: int = setting("how many former passwords may not come again; 0: none is kept", default=0)
    reset_lifetime: Seconds = setting("how long the link that resets a password can be used", default="1h")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        for key in ("min_length", "min_length_with_mfa"):
            if not FLOOR <= getattr(self, key) <= self.max_length:
                raise ConfigurationError(f"{path}.{key}", f"not from {FLOOR} to max_length", "write 15")
        if not 64 <= self.max_length <= 1024:
            raise ConfigurationError(f"{path}.max_length", "not from 64 to 1024", "write 256")
        if not 0 <= self.history <= MOST_REMEMBERED:
            raise ConfigurationError(f"{path}.history", f"not from 0 to {MOST_REMEMBERED}", "write 5")
        if self.rounds < FEWEST_ROUNDS:
            raise ConfigurationError(f"{path}.rounds", f"fewer than {FEWEST_ROUNDS:,} rounds", "write 220000")


class SessionRules(Settings):
    """How long people stay logged in."""

    idle: Seconds = setting("how long a session lives without being used", default="30m")
    absolute: Seconds = setting("how long a session lives at most, however often it is renewed", default="12h")
    renewal_grace: Seconds = setting("how long the old token is taken after a renewal", default="30s")
    recent: Seconds = setting("how long ago people may have proven themselves for what is delicate", default="10m")
    max_per_user: int = setting("most sessions of one person", default=20)
    when_full: Literal["evict", "refuse"] = setting("what becomes of one more: the oldest ends, or it", default="evict")
    bind_app: bool = setting("whether a session belongs to the application that opened it", default=True)
    bind_address: bool = setting("whether a session belongs to the address that opened it", default=False)

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if not self.idle <= self.absolute:
            raise ConfigurationError(f"{path}.idle", "longer than absolute", "write 30m")
        if self.max_per_user < 1:
            raise ConfigurationError(f"{path}.max_per_user", "nobody could log in", "write 20")


class SecondFactor(Settings):
    """One-time codes beside the password."""

    required: Literal["off", "super_users", "all"] = setting("who has to have a second factor", default="super_users")
    window: int = setting("how many steps of 30 seconds a code may be early or late: 0 or 1", default=1)

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.window not in (0, 1):
            raise ConfigurationError(f"{path}.window", "RFC 6238 knows one step at most", "write 0 or 1")


class PasskeyRules(Settings):
    """Passkeys (WebAuthn), where the extra `webauthn` is installed."""

    enabled: bool = setting("whether people can enrol and use passkeys", default=True)
    login: bool = setting("whether a passkey that knows who holds it logs in without a password", default=True)
    domain: str = setting(
        "domain that passkeys are bound to, for good; the host of gateway.public_url if empty", default=""
    )
    origins: list[str] = setting("origins of further pages that use passkeys, all at that domain or below", default=[])

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.domain and not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", self.domain):
            raise ConfigurationError(f"{path}.domain", f"not a domain: '{self.domain}'", 'write "example.org"')
        for index, origin in enumerate(self.origins):
            if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
                raise ConfigurationError(
                    f"{path}.origins[{index}]", f"not an origin: '{origin}'", 'write "https://app.example.org"'
                )


class Privacy(Settings):
    """How personal data is kept."""

    encrypt_email: bool = setting("whether addresses are encrypted; they are found by a keyed digest", default=True)
    encrypt_names: bool = setting("whether people's names are encrypted; they can then not be searched", default=False)
    reuse_usernames: bool = setting("whether the name of a deleted account can be taken again", default=False)


class Mail(Settings):
    """How people are written to."""

    connection: ConnectionName = setting("connection that sends mail")
    sender: str = setting("sender of every mail", name="from")
    reply_to: str = setting("address that answers go to, if not the sender's", default="")
    templates: str = setting("folder of templates that come before ours, LANGUAGE/KIND.txt and .html", default="")
    links: dict[str, str] = setting(
        "where the links of letters lead, by kind of letter, if not to our pages; {token} is filled in", default={}
    )
    give_up_after: Seconds = setting("how long a letter that is not taken is tried again", default="2d")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        for key, text in (("from", self.sender), ("reply_to", self.reply_to)):
            if text and "${" not in text and not _is_sender(text):
                raise ConfigurationError(
                    f"{path}.{key}", f"not a sender: {text!r}", 'write "Acme <no-reply@acme.example>"'
                )
        if self.templates and "${" not in self.templates and not self.templates.startswith("/"):
            raise ConfigurationError(f"{path}.templates", "not the whole path of a folder", "begin it with /")
        for kind, link in self.links.items():
            if not re.match(r"https?://", link):
                raise ConfigurationError(f"{path}.links.{kind}", f"not a URL: '{link}'", "begin it with https://")


class PageRules(Settings):
    """The pages on which people sign up, log in and look after their account."""

    enabled: bool = setting("whether the pages are served", default=True)
    origins: list[str] = setting("further origins that people may be sent on to after a login", default=[])
    home: str = setting("where people go after a login that says nothing else; their account if empty", default="")
    language: str = setting("language of those whose browser asks for none that there is", default="en")
    colour: str = setting("colour of links and buttons, as #rrggbb", default="#4f46e5")
    logo: str = setting("a picture instead of the letter mark: SVG text, or a data: URL of base64", default="")
    css: str = setting("style sheet that is read after ours", default="")
    support: str = setting("whom people ask for help: an e-mail address or a URL", default="")
    terms: str = setting("URL of the terms of use", default="")
    privacy: str = setting("URL of the privacy policy", default="")

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        check_origins(self.origins, f"{path}.origins")
        if self.home and not re.fullmatch(r"/(?![/\\])[!-\[\]-~]*|https?://[!-\[\]-~]+", self.home):
            raise ConfigurationError(f"{path}.home", f"not a place: '{self.home}'", 'write a path, "/start"')
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise ConfigurationError(f"{path}.colour", f"not a colour: '{self.colour}'", 'write "#4f46e5"')
        if self.logo and not re.match(r"\s*<(\?xml|svg)|data:image/(png|jpeg|webp|gif|svg\+xml);base64,", self.logo):
            raise ConfigurationError(
                f"{path}.logo", "not a picture", 'write "${file:logo.svg}" or a data: URL of base64'
            )
        for key in ("terms", "privacy"):
            if not re.match(r"https?://|/(?!/)|$", getattr(self, key)):
                raise ConfigurationError(f"{path}.{key}", "not a URL of the web", 'write "https://example.org/terms"')


class Sso(Settings):
    """Sign-up and login of people."""

    enabled: bool = setting("whether people sign up and log in here", default=False)
    site_name: str = setting("what people know this installation as", default="Gatewright")
    apps: dict[str, App] = setting("applications by name, as X-Gateway-App has them", default={})
    default_app: str = setting("application that is meant where none is named", default="")
    signup: Signup = setting("how an account comes to be", default={})
    login: LoginRules = setting("how often people may try to log in", default={})
    password: PasswordRules = setting("what a password has to be", default={})
    session: SessionRules = setting("how long people stay logged in", default={})
    second_factor: SecondFactor = setting("who has to have one-time codes", default={})
    passkeys: PasskeyRules = setting("passkeys as a second factor, and to log in with", default={})
    own_links: list[SecurityName] = setting(
        "security definitions whose credentials people may link to their account themselves, by proving to have them",
        default=[],
    )
    privacy: Privacy = setting("how personal data is kept", default={})
    mail: Mail | None = setting("how people are written to", default=None)
    pages: PageRules = setting("the pages on which people log in and look after their account", default={})

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if self.default_app and self.default_app not in self.apps:
            raise ConfigurationError(f"{path}.default_app", f"no application '{self.default_app}'", "add it to apps")

    def app_of(self, name: str) -> AppRules | None:
        """The application of that name; the default one (or the only one) where *name* is empty; None where there is none."""
        if not name:
            name = self.default_app or (next(iter(self.apps)) if len(self.apps) == 1 else "")
        found = self.apps.get(name)
        if found is None:
            return None
        return AppRules(name, found.signup, found.login, tuple(found.allow), found.credential, tuple(found.origins))


class AppRules(NamedTuple):
    """An application, and what people may do through it."""

    name: str
    signup: bool
    login: bool
    allow: tuple[str, ...]
    credential: bool = False
    origins: tuple[str, ...] = ()


def _is_sender(text: str) -> bool:
    """Whether *text* is one address of mail, with or without a name before it."""
    message = EmailMessage()
    try:
        message["From"] = text
        addresses = message["From"].addresses
    except (MessageError, ValueError, IndexError):
        return False
    return len(addresses) == 1 and "@" in addresses[0].addr_spec.strip("@") and not message["From"].defects


def check_origins(origins: list[str], path: str) -> None:
    """Raise ConfigurationError where one of *origins* is none: a scheme, a host and perhaps a port, and nothing else."""
    for index, origin in enumerate(origins):
        if not re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin):
            raise ConfigurationError(
                f"{path}[{index}]", f"not an origin: '{origin}'", 'write "https://app.example.org"'
            )


def check_networks(networks: list[str], path: str) -> None:
    """Raise ConfigurationError where one of *networks* is not an address or a network."""
    for index, network in enumerate(networks):
        try:
            AddressList([network])
        except ConfigurationError as error:
            raise error.under(f"{path}[{index}]") from None
