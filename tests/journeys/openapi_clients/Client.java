// Calls with the Java client that OpenAPI Generator made; prints what came, as JSON.
import com.fasterxml.jackson.databind.ObjectMapper;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import shop.ApiClient;
import shop.ApiException;
import shop.api.ShopApi;
import shop.model.OrderPlaceOutput;
import shop.model.PlaceOrderInput;
import shop.model.PlaceOrderInputAddress;
import shop.model.PlaceOrderInputLinesInner;
import shop.model.Problem;

public class Client {
    static ShopApi api(String url, String header, String value) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(url);
        if (header != null) client.setRequestInterceptor(request -> request.setHeader(header, value));
        return new ShopApi(client);
    }

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0];
        ShopApi api = api(url, null, null);
        ObjectMapper mapper = new ApiClient().getObjectMapper();
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("found", api.findOrder(7L, "silver"));
        PlaceOrderInput order = new PlaceOrderInput()
            .customer("Ann Ą")
            .segment(PlaceOrderInput.SegmentEnum.GOLD)
            .day(LocalDate.of(2026, 1, 31))
            .total(new BigDecimal("1234567890123456789.10"))
            .address(new PlaceOrderInputAddress().street("Main & 1st"))
            .lines(List.of(
                new PlaceOrderInputLinesInner().item("book").count(1L), new PlaceOrderInputLinesInner().item("pen").count(2L)))
            .tags(List.of("a", ""));
        OrderPlaceOutput placed = api.placeOrder(order);
        if (!placed.getDay().equals(LocalDate.of(2026, 1, 31))) throw new IllegalStateException("the day is " + placed.getDay());
        Map<String, Object> told = new LinkedHashMap<>(mapper.convertValue(placed, Map.class));
        told.put("total", placed.getTotal().toPlainString());
        told.put("day", placed.getDay().toString());
        found.put("placed", told);
        try {
            api.findOrder(404L, null);
        } catch (ApiException refused) {
            Problem problem = mapper.readValue(refused.getResponseBody(), Problem.class);
            found.put("refused", List.of(refused.getCode(), problem.getCode(), problem.getDetail()));
        }
        try {
            api.whoAmI();
        } catch (ApiException refused) {
            found.put("stranger", refused.getCode());
        }
        byte[] pair = (arguments[1] + ":" + arguments[2]).getBytes(StandardCharsets.UTF_8);
        String basic = "Basic " + Base64.getEncoder().encodeToString(pair);
        found.put("basic", api(url, "Authorization", basic).whoAmI().getCaller());
        found.put("key", api(url, "X-API-Key", arguments[3]).whoByKey().getCaller());
        System.out.write(mapper.writeValueAsBytes(found));
        System.out.flush();
    }
}
