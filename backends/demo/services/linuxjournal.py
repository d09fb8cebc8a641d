"""Long-term interest rates: fetched from a large XML document once an hour, answered in whatever format a channel has."""

from datetime import date, datetime

from lxml import etree

from gatewright import Service

NAMESPACES = {
    "m": "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata",
    "d": "http://schemas.microsoft.com/ado/2007/08/dataservices",
}
REDIS_KEY_PATTERN = "linuxjournal:rates:{}:{}:{}"


def get_date(request):
    """Year, month and day as the keys have them; each that is not given is today's."""
    today = date.today()
    return (
        str(request.year or today.year),
        str(request.month or today.month).zfill(2),
        str(request.day or today.day).zfill(2),
    )


class UpdateCache(Service):
    """Fetches the long-term rates of a month (by default the current one) and caches them."""

    class SimpleIO:
        input_optional = ("year", "month")

    def handle(self):
        today = date.today()
        year = int(self.request.input.year or today.year)
        month = int(self.request.input.month or today.month)

        # Fetch connection by its name
        out = self.outgoing.plain_http.get("treasury")

        # Build a query string the backend data source expects
        query_string = {"$filter": f"month(QUOTE_DATE) eq {month} and year(QUOTE_DATE) eq {year}"}

        # Invoke the backend with query string, fetch the response
        # and turn it into an XML object
        response = out.conn.get(self.cid, query_string)
        response.raise_for_status()
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        xml = etree.fromstring(response, parser)

        # Look up all XML elements needed (date and rate) using XPath
        for properties in xml.xpath("//m:properties", namespaces=NAMESPACES):
            quoted, rate = properties.xpath("(d:QUOTE_DATE | d:RATE)/text()", namespaces=NAMESPACES)

            # Create a date object out of string
            day = datetime.fromisoformat(quoted)

            # Build a key for the cache and store the data under it
            key = REDIS_KEY_PATTERN.format(day.year, str(day.month).zfill(2), str(day.day).zfill(2))
            self.kvdb.conn.set(key, str(rate))

            # Leave a trace of our activity
            self.logger.info("Key %s set to %s", key, rate)


class GetRate(Service):
    """Returns the real long-term rate for a given date (defaults to today if no date is given)."""

    class SimpleIO:
        input_optional = ("year", "month", "day")
        output_optional = ("rate",)

    def handle(self):
        # Get date needed either from input or current day
        year, month, day = get_date(self.request.input)

        # Build the key the data is cached under
        key = REDIS_KEY_PATTERN.format(year, month, day)

        # Assign the result from cache directly to response
        self.response.payload.rate = self.kvdb.conn.get(key)
