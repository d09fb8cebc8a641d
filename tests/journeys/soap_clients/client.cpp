// gSOAP: calls everything once and prints what it got as one JSON document. Argument: URL of the gateway. PROXY, PROXY_HEADER and
// NAMESPACES name what soapcpp2 generated; they tell the SOAP version too.
#include PROXY_HEADER
#include NAMESPACES
#include <cstdio>
#include <iostream>
#include <sstream>

static std::string quoted(const std::string &text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

static std::string base64(const xsd__base64Binary &binary) {
    static const char *signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (int i = 0; i < binary.__size; i += 3) {
        unsigned n = binary.__ptr[i] << 16;
        if (i + 1 < binary.__size) n |= binary.__ptr[i + 1] << 8;
        if (i + 2 < binary.__size) n |= binary.__ptr[i + 2];
        out += signs[n >> 18];
        out += signs[n >> 12 & 63];
        out += i + 1 < binary.__size ? signs[n >> 6 & 63] : '=';
        out += i + 2 < binary.__size ? signs[n & 63] : '=';
    }
    return out;
}

static std::string moment(time_t when) {
    char text[40];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime(&when));
    return text;
}

static std::string fault(PROXY &proxy, int number) {
    _ns1__FindOrder request;
    _ns1__FindOrderResponse response;
    request.number = number;
    if (proxy.FindOrder(&request, response) == SOAP_OK) return "{}";
    SOAP_ENV__Detail *detail = proxy.soap->version == 2 ? proxy.soap->fault->SOAP_ENV__Detail : proxy.soap->fault->detail;
    ns1__GatewayFaultType *found = detail->ns1__GatewayFault;
    std::ostringstream out;
    out << "{\"message\": " << quoted(soap_fault_string(proxy.soap)) << ", \"code\": " << quoted(found->code)
        << ", \"status\": " << found->status << "}";
    return out.str();
}

int main(int, char **argv) {
    std::string base = argv[1];
    PROXY proxy(SOAP_C_UTFSTRING | SOAP_XML_STRICT);
    std::string endpoint = base + "/soap/orders";
    proxy.soap_endpoint = endpoint.c_str();
    unsigned char scan[256];
    for (int i = 0; i < 256; i++) scan[i] = i;
    ns1__PlaceOrderAddressGeo geo;
    geo.lat = 52.25;
    geo.lon = -1.5;
    ns1__PlaceOrderAddress address;
    address.street = "Main & 1st";
    address.geo = &geo;
    ns1__PlaceOrderLines book, pen;
    book.number = 1; book.item = "book"; book.price = "1.50";
    pen.number = 2; pen.item = "pen"; pen.price = "0.10";
    _ns1__PlaceOrder order;
    order.number = 9007199254740991LL;
    order.customer = "Zażółć gęślą 日本 😀 & <b>";
    order.urgent = true;
    order.segment = ns1__PlaceOrderSegment__gold;
    order.day = "2026-01-31";
    order.made_USCOREat = 1769862615;
    order.total = "1234.50";
    order.weight = 0.1;
    order.scan.__ptr = scan;
    order.scan.__size = 256;
    order.tags = {"a", "", "ż"};
    order.address = &address;
    order.lines = {&book, &pen};
    order.more = {7};
    _ns1__PlaceOrderResponse placed;
    if (proxy.PlaceOrder(&order, placed) != SOAP_OK) {
        proxy.soap_stream_fault(std::cerr);
        return 1;
    }
    std::ostringstream out;
    out.precision(17);
    out << "{\"sent\": {}, \"placed\": {\"received\": " << quoted(placed.received) << ", \"customer\": " << quoted(placed.customer)
        << ", \"number\": " << placed.number << ", \"urgent\": " << (placed.urgent ? "true" : "false") << ", \"segment\": "
        << quoted(placed.segment == ns1__PlaceOrderResponseSegment__gold ? "gold" : "silver") << ", \"day\": " << quoted(placed.day)
        << ", \"made_at\": " << quoted(moment(placed.made_USCOREat)) << ", \"total\": " << quoted(placed.total) << ", \"weight\": "
        << placed.weight << ", \"scan\": " << quoted(base64(placed.scan)) << ", \"tags\": [";
    for (size_t i = 0; i < placed.tags.size(); i++) out << (i ? ", " : "") << quoted(placed.tags[i]);
    out << "], \"address\": {\"street\": " << quoted(placed.address->street) << ", \"geo\": {\"lat\": " << placed.address->geo->lat
        << "}}, \"lines\": [";
    for (size_t i = 0; i < placed.lines.size(); i++)
        out << (i ? ", " : "") << "{\"number\": " << placed.lines[i]->number << ", \"item\": " << quoted(placed.lines[i]->item)
            << ", \"price\": " << placed.lines[i]->price << "}";
    out << "], \"more\": [" << placed.more.at(0) << "], \"note\": " << (placed.note ? quoted(*placed.note) : "null") << "}, \"listed\": [";
    _ns1__ListOrders nothing;
    _ns1__ListOrdersResponse listed;
    if (proxy.ListOrders(&nothing, listed) != SOAP_OK) {
        proxy.soap_stream_fault(std::cerr);
        return 1;
    }
    for (size_t i = 0; i < listed.item.size(); i++)
        out << (i ? ", " : "") << "{\"number\": " << listed.item[i]->number << ", \"customer\": " << quoted(listed.item[i]->customer) << "}";
    out << "], \"faults\": {\"missing\": " << fault(proxy, 404) << ", \"broken\": " << fault(proxy, 500) << "}";
    // Once more with null said in so many words: gSOAP leaves such a member out unless it is told otherwise.
    soap_set_omode(proxy.soap, SOAP_XML_NIL);
    _ns1__PlaceOrderResponse nulled;
    if (proxy.PlaceOrder(&order, nulled) != SOAP_OK) {
        proxy.soap_stream_fault(std::cerr);
        return 1;
    }
    soap_clr_omode(proxy.soap, SOAP_XML_NIL);
    out << ", \"nulled\": " << quoted(nulled.received);
    std::string secured = base + "/soap/secured";
    proxy.soap_endpoint = secured.c_str();
    bool refused = proxy.PlaceOrder(&order, placed) != SOAP_OK && proxy.soap->status == 401;
    proxy.soap->userid = "api";
    proxy.soap->passwd = "partner-password";
    if (proxy.PlaceOrder(&order, placed) != SOAP_OK) {
        proxy.soap_stream_fault(std::cerr);
        return 1;
    }
    out << ", \"caller\": " << quoted(placed.caller) << ", \"refused\": " << (refused ? "true" : "false") << "}";
    std::cout << out.str() << std::endl;
    return 0;
}
