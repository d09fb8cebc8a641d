"""The smallest service there is. Change its text while the gateway runs: the next call answers with the new one."""

from gatewright import Service


class Hello(Service):
    """Greets whoever asks."""

    name = "hello"

    input = "name"
    output = "text"

    def handle(self):
        self.response.payload.text = f"Hello, {self.request.input.name}!"
