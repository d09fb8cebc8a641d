// Opens pages in Chromium and prints, as JSON, what is wrong with each: accessibility, console, requests, width.
// node look.cjs BASE PATH...
const fs = require("fs");
const puppeteer = require("puppeteer-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [base, ...paths] = process.argv.slice(2);
const each = [["light", 1440, 900], ["dark", 390, 844], ["light", 390, 844], ["dark", 1440, 900]];
const views = each.slice(0, Number(process.env.VIEWS || 2));
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const options = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic";

(async () => {
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: options.split(" ") });
  const found = [];
  for (const [scheme, width, height] of views) {
    const page = await browser.newPage();
    const seen = { foreign: [], said: [] };
    page.on("request", (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(base)) seen.foreign.push(request.url());
    });
    page.on("console", (message) => ["error", "warn"].includes(message.type()) && seen.said.push(message.text()));
    page.on("pageerror", (error) => seen.said.push(String(error)));
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    for (const path of paths) {
      seen.foreign = [];
      seen.said = [];
      await page.goto(base + path, { timeout: 60000 });
      const console_ = path.endsWith("/console");
      if (console_) await page.waitForSelector(".opblock", { timeout: 60000 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth + 1);
      const result = console_ ? { violations: [] } : await page.evaluate(`${axe}; axe.run(document, {runOnly: ${JSON.stringify(rules)}})`);
      const violations = result.violations.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`);
      if (wide) violations.push("wider than the screen");
      found.push({ scheme, width, path, violations, foreign: seen.foreign, said: seen.said });
    }
    await page.close();
  }
  console.log(JSON.stringify(found));
  await browser.close();
})();
