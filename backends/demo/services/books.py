"""Books: input that is checked against a JSON Schema as well."""

from gatewright import Service


class AddBook(Service):
    """Takes a book and says what it took."""

    name = "books.add"

    # Require JSON Schema validation
    schema = "book.json"

    def handle(self):
        # If we are here, it means that the input schema validation succeeded
        self.logger.info("My request: %s", self.request.payload)
        self.response.payload = {"added": self.request.payload}
        self.response.status_code = 201
