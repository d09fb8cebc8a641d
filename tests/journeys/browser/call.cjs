// From a service's page to the console, and a real call from there: node call.cjs BASE PAGE. Prints, as JSON, what came of it.
// BROWSER_AS is the NAME:PASSWORD that the browser has for this host; with BROWSER_PERSON somebody logs in on our pages first.
const puppeteer = require("puppeteer-core");

const [base, place] = process.argv.slice(2);
const options = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic";

(async () => {
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: options.split(" ") });
  const page = await browser.newPage();
  const seen = { foreign: [], said: [] };
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(base)) seen.foreign.push(request.url());
  });
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && seen.said.push(message.text()));
  page.on("pageerror", (error) => seen.said.push(String(error)));
  if (process.env.BROWSER_AS) {
    const [username, password] = process.env.BROWSER_AS.split(":");
    await page.authenticate({ username, password });
  }
  if (process.env.BROWSER_PERSON) {
    const [username, password] = process.env.BROWSER_PERSON.split(":");
    await page.goto(base + "/sso/login", { timeout: 60000 });
    await page.type("#username", username);
    await page.type("#password", password);
    await Promise.all([page.waitForNavigation({ timeout: 60000 }), page.click("button.solid")]);
  }
  await page.goto(base + place, { timeout: 60000 });
  const reading = seen.said.length;
  await page.evaluate(() => [...document.querySelectorAll("a")].find((a) => a.textContent.startsWith("Try it")).click());
  await page.waitForSelector(".opblock.is-open .execute", { timeout: 60000 });
  await page.click(".opblock.is-open .execute");
  await page.waitForSelector(".live-responses-table .response-col_status", { timeout: 60000 });
  const status = await page.$eval(".live-responses-table tbody .response-col_status", (one) => one.textContent.trim().slice(0, 3));
  const body = await page.$eval(".live-responses-table tbody .response-col_description", (one) => one.textContent);
  const policy = (await (await page.goto(base + "/docs/console")).headers())["content-security-policy"];
  console.log(JSON.stringify({ status, body, policy, reading, ...seen }));
  await browser.close();
})();
