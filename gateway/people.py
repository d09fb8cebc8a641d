"""Single sign-on of one process, as the configuration has it: the same object as long as its settings are.

All of its state is in the database, so that another one may take its place between two requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.built_in import sso_of
from security.stamps import Stamps

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from security.database import Database
    from security.passwords import HashingPool
    from security.secrets import Keyring
    from sso.system import SingleSignOn


class People:
    """Makes `SingleSignOn` of a configuration. *stamps* are the machine's; *listener* is where people come without a public URL."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        pool: HashingPool,
        stamps: Stamps | None = None,
        listener: str = "",
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._pool = pool
        self._stamps = stamps or Stamps()
        self._listener = listener
        self._digest = ""
        #: Single sign-on as it was asked for last; None while it is off.
        self.current: SingleSignOn | None = None

    def of(self, configuration: Configuration) -> SingleSignOn | None:
        """Single sign-on by the settings of *configuration*; None where it is off. Raises BackendUnavailable."""
        definition = sso_of(configuration)
        if definition is None:
            self.current, self._digest = None, ""
            return None
        public_url = (configuration.gateway.public_url or self._listener).rstrip("/")
        digest = f"{definition.digest} {public_url}"
        if self.current is None or self._digest != digest:
            # PERF: imported by those who have people alone.
            from sso.system import SingleSignOn

            self.current = SingleSignOn(
                self._database,
                self._keyring.ring("edge"),
                definition.settings,
                pool=self._pool,
                stamps=self._stamps,
                public_url=public_url,
            )
            self._digest = digest
        return self.current

    def close(self) -> None:
        """Give the stamps back."""
        self._stamps.close()
