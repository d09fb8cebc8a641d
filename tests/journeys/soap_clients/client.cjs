// node's soap: calls everything once and prints what it got as one JSON document. Arguments: URL of the gateway, SOAP version.
"use strict";
const soap = require("soap");
const [base, version] = process.argv.slice(2);
const options = { forceSoap12Headers: version === "1.2", disableCache: true };
const scan = Buffer.from([...Array(256).keys()]).toString("base64");
const order = {
  number: 9007199254740991, customer: "Zażółć gęślą 日本 😀 & <b>", urgent: true, segment: "gold", day: "2026-01-31",
  made_at: "2026-01-31T12:30:15Z", total: "1234.50", weight: 0.1, scan, tags: ["a", "", "ż"],
  address: { street: "Main & 1st", geo: { lat: 52.25, lon: -1.5 } },
  lines: [{ number: 1, item: "book", price: "1.50" }, { number: 2, item: "pen", price: "0.10" }],
  more: [7], note: null,
};

async function fault(call) {
  try {
    await call();
  } catch (error) {
    const found = error.root.Envelope.Body.Fault;
    const detail = (found.detail || found.Detail).GatewayFault;
    const message = found.faultstring || found.Reason.Text;
    return { message: message.$value || message, code: detail.code, status: detail.status };
  }
  return {};
}

async function main() {
  const client = await soap.createClientAsync(`${base}/soap/orders?wsdl&soap=${version}`, options);
  const [placed] = await client.PlaceOrderAsync(order);
  placed.day = placed.day instanceof Date ? placed.day.toISOString() : placed.day;
  placed.made_at = placed.made_at instanceof Date ? placed.made_at.toISOString() : placed.made_at;
  const [listed] = await client.ListOrdersAsync({});
  const faults = {
    missing: await fault(() => client.FindOrderAsync({ number: 404 })),
    broken: await fault(() => client.FindOrderAsync({ number: 500 })),
  };

  let refused = false;
  try {
    await soap.createClientAsync(`${base}/soap/secured?wsdl`, options);
  } catch (error) {
    refused = true;
  }
  const credentials = "Basic " + Buffer.from("api:partner-password").toString("base64");
  const secured = await soap.createClientAsync(`${base}/soap/secured?wsdl&soap=${version}`, {
    ...options, wsdl_headers: { Authorization: credentials },
  });
  secured.setSecurity(new soap.BasicAuthSecurity("api", "partner-password"));
  const [answer] = await secured.PlaceOrderAsync(order);
  console.log(JSON.stringify({ sent: { note: null }, placed, listed: listed.item, faults, caller: answer.caller, refused }));
}

main().catch((error) => { console.error(error.message, error.stack); process.exit(1); });
