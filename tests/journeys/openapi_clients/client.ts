// Calls with openapi-fetch, typed by what openapi-typescript generated; prints what came, as JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

const [url, username, password, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });
const order: components["schemas"]["PlaceOrderInput"] = {
  customer: "Ann Ą",
  segment: "gold",
  day: "2026-01-31",
  total: "1234567890123456789.10",
  address: { street: "Main & 1st" },
  lines: [{ item: "book", count: 1 }, { item: "pen", count: 2 }],
  tags: ["a", ""],
};

async function main(): Promise<void> {
  const found = await client.GET("/orders/{number}", { params: { path: { number: 7 }, query: { segment: "silver" } } });
  const placed = await client.POST("/orders", { body: order });
  const refused = await client.GET("/orders/{number}", { params: { path: { number: 404 } } });
  const problem = refused.error as components["schemas"]["Problem"];
  const stranger = await client.GET("/me");
  const authorization = "Basic " + Buffer.from(`${username}:${password}`).toString("base64");
  const basic = await client.GET("/me", { headers: { Authorization: authorization } });
  const byKey = await client.GET("/key", { headers: { "X-API-Key": key } });
  const day: string | undefined = placed.data?.day;
  if (day !== "2026-01-31") throw new Error(`the day is ${day}`);
  console.log(JSON.stringify({
    found: found.data, placed: placed.data, refused: [refused.response.status, problem.code, problem.detail],
    stranger: stranger.response.status, basic: basic.data?.caller, key: byKey.data?.caller,
  }));
}

main();
