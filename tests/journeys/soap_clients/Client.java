// JAX-WS: calls everything once and prints what it got as one JSON document. Arguments: URL of the gateway, SOAP version. The classes
// in `orders` are what wsimport made of the WSDL.
import java.math.BigDecimal;
import java.net.URI;
import java.util.Arrays;
import java.util.Base64;
import java.util.stream.Collectors;
import javax.xml.bind.JAXBElement;
import javax.xml.datatype.DatatypeFactory;
import javax.xml.ws.BindingProvider;
import orders.*;

public class Client {
    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    static String fault(OrdersPortType port, long number) {
        FindOrder request = new FindOrder();
        request.setNumber(number);
        try {
            port.findOrder(request);
        } catch (GatewayFaultMessage caught) {
            GatewayFaultType found = caught.getFaultInfo();
            return "{\"message\": " + quoted(caught.getMessage()) + ", \"code\": " + quoted(found.getCode()) + ", \"status\": "
                + found.getStatus() + "}";
        }
        return "{}";
    }

    static PlaceOrder order() throws Exception {
        DatatypeFactory types = DatatypeFactory.newInstance();
        byte[] scan = new byte[256];
        for (int i = 0; i < 256; i++) scan[i] = (byte) i;
        PlaceOrderAddressGeo geo = new PlaceOrderAddressGeo();
        geo.setLat(52.25);
        geo.setLon(-1.5);
        PlaceOrderAddress address = new PlaceOrderAddress();
        address.setStreet("Main & 1st");
        address.setGeo(geo);
        PlaceOrderLines book = new PlaceOrderLines();
        book.setNumber(1);
        book.setItem("book");
        book.setPrice(new BigDecimal("1.50"));
        PlaceOrderLines pen = new PlaceOrderLines();
        pen.setNumber(2);
        pen.setItem("pen");
        pen.setPrice(new BigDecimal("0.10"));
        PlaceOrder order = new PlaceOrder();
        order.setNumber(9007199254740991L);
        order.setCustomer("Zażółć gęślą 日本 😀 & <b>");
        order.setUrgent(true);
        order.setSegment(PlaceOrderSegment.GOLD);
        order.setDay(types.newXMLGregorianCalendar("2026-01-31Z"));
        order.setMadeAt(types.newXMLGregorianCalendar("2026-01-31T12:30:15.000Z"));
        order.setTotal(new BigDecimal("1234.50"));
        order.setWeight(0.1);
        order.setScan(scan);
        order.getTags().addAll(Arrays.asList("a", "", "ż"));
        order.setAddress(address);
        order.getLines().addAll(Arrays.asList(book, pen));
        order.getMore().add(7L);
        order.setNote(new ObjectFactory().createPlaceOrderNote(null));
        return order;
    }

    static OrdersPortType port(String base, String version, String path) throws Exception {
        OrdersService service = new OrdersService(URI.create(base + "/soap/orders?wsdl").toURL());
        OrdersPortType port = version.equals("1.2") ? service.getOrdersSoap12() : service.getOrdersSoap11();
        ((BindingProvider) port).getRequestContext().put(BindingProvider.ENDPOINT_ADDRESS_PROPERTY, base + path);
        return port;
    }

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0], version = arguments[1];
        OrdersPortType port = port(base, version, "/soap/orders");
        PlaceOrderResponse placed = port.placeOrder(order());
        JAXBElement<String> note = placed.getNote();
        String listed = port.listOrders(new ListOrders()).getItem().stream()
            .map(row -> "{\"number\": " + row.getNumber() + ", \"customer\": " + quoted(row.getCustomer()) + "}")
            .collect(Collectors.joining(", "));
        String lines = placed.getLines().stream()
            .map(line -> "{\"number\": " + line.getNumber() + ", \"item\": " + quoted(line.getItem()) + ", \"price\": "
                + line.getPrice() + "}")
            .collect(Collectors.joining(", "));
        OrdersPortType secured = port(base, version, "/soap/secured");
        boolean refused = false;
        try {
            secured.placeOrder(order());
        } catch (Exception caught) {
            refused = caught.getMessage().contains("401");
        }
        ((BindingProvider) secured).getRequestContext().put(BindingProvider.USERNAME_PROPERTY, "api");
        ((BindingProvider) secured).getRequestContext().put(BindingProvider.PASSWORD_PROPERTY, "partner-password");
        String caller = secured.placeOrder(order()).getCaller();
        System.setOut(new java.io.PrintStream(System.out, true, "UTF-8"));
        System.out.println("{\"sent\": {\"note\": null}, \"placed\": {\"received\": " + quoted(placed.getReceived()) + ", \"customer\": "
            + quoted(placed.getCustomer()) + ", \"number\": " + placed.getNumber() + ", \"urgent\": " + placed.isUrgent()
            + ", \"segment\": " + quoted(placed.getSegment().value()) + ", \"day\": " + quoted(placed.getDay().toString())
            + ", \"made_at\": " + quoted(placed.getMadeAt().toString()) + ", \"total\": " + quoted(placed.getTotal().toString())
            + ", \"weight\": " + placed.getWeight() + ", \"scan\": " + quoted(Base64.getEncoder().encodeToString(placed.getScan()))
            + ", \"tags\": [" + placed.getTags().stream().map(Client::quoted).collect(Collectors.joining(", "))
            + "], \"address\": {\"street\": " + quoted(placed.getAddress().getStreet()) + ", \"geo\": {\"lat\": "
            + placed.getAddress().getGeo().getLat() + "}}, \"lines\": [" + lines + "], \"more\": " + placed.getMore() + ", \"note\": "
            + (note == null || note.getValue() == null ? "null" : quoted(note.getValue())) + "}, \"listed\": [" + listed
            + "], \"faults\": {\"missing\": " + fault(port, 404) + ", \"broken\": " + fault(port, 500) + "}, \"caller\": "
            + quoted(caller) + ", \"refused\": " + refused + "}");
    }
}
