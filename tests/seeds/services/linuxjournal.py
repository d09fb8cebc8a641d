# The article prints fragments of the first service and the whole of the second; what surrounds them is put back here:
# imports, constants, the class, `get_date`, and the pairs that its loop wants from a flat list of id, date and rate.
from datetime import datetime

from dateutil.parser import parse
from lxml import etree

from gatewright import Service

NAMESPACES = {
    'm': 'http://schemas.microsoft.com/ado/2007/08/dataservices/metadata',
    'd': 'http://schemas.microsoft.com/ado/2007/08/dataservices',
}
REDIS_KEY_PATTERN = 'linuxjournal:rates:{}:{}:{}'

def get_date(request):
    today = datetime.now()
    return (
        str(request.year or today.year),
        str(request.month or today.month).zfill(2),
        str(request.day or today.day).zfill(2),
    )

class UpdateCache(Service):
    class SimpleIO:
        input_optional = ('year', 'month')

    def handle(self):
        today = datetime.now()
        year = self.request.input.year or today.year
        month = self.request.input.month or today.month

        # Fetch connection by its name
        out = self.outgoing.plain_http.get('treasury')

        # Build a query string the backend data source expects
        query_string = {
            '$filter':'month(QUOTE_DATE) eq {} and year(QUOTE_DATE) eq {}'.format(month, year)
        }

        # Invoke the backend with query string, fetch
        # the response as a UTF-8 string
        # and turn it into an XML object
        response = out.conn.get(self.cid, query_string)

        xml = etree.fromstring(response)

        # Look up all XML elements needed (date and rate) using XPath
        elements = xml.xpath('//m:properties/d:*/text()',
            namespaces=NAMESPACES)
        elements = zip(elements[1::3], elements[2::3])

        for date, rate in elements:
            # Create a date object out of string
            date = parse(date)

            # Build a key for Redis and store the data under it
            key = REDIS_KEY_PATTERN.format(
                date.year, str(date.month).zfill(2),
                str(date.day).zfill(2))
            self.kvdb.conn.set(key, rate)

            # Leave a trace of our activity
            self.logger.info('Key %s set to %s', key, rate)

class GetRate(Service):
    """ Returns the real long-term rate for a given date
    (defaults to today if no date is given).
    """
    class SimpleIO:
        input_optional = ('year', 'month', 'day')
        output_optional = ('rate',)

    def handle(self):
        # Get date needed either from input or current day
        year, month, day = get_date(self.request.input)

        # Build the key the data is cached under
        key = REDIS_KEY_PATTERN.format(year, month, day)

        # Assign the result from cache directly to response
        self.response.payload.rate = self.kvdb.conn.get(key)
