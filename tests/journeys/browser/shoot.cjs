// Takes pictures of pages: node shoot.cjs BASE FOLDER NAME=PATH[:dark][:phone][:whole] ...
const path = require("path");
const puppeteer = require("puppeteer-core");

const [base, folder, ...wanted] = process.argv.slice(2);
const options = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic --hide-scrollbars";

(async () => {
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: options.split(" ") });
  for (const one of wanted) {
    const [name, rest] = [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)];
    const [place, ...words] = rest.split("|");
    const phone = words.includes("phone");
    const page = await browser.newPage();
    await page.setViewport({ width: phone ? 390 : 1280, height: phone ? 844 : 860, deviceScaleFactor: 1 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: words.includes("dark") ? "dark" : "light" }]);
    if (process.env.BROWSER_AS) {
      const [username, password] = process.env.BROWSER_AS.split(":");
      await page.authenticate({ username, password });
    }
    await page.goto(base + place, { timeout: 60000 });
    if (place.includes("console")) await page.waitForSelector(".opblock", { timeout: 60000 });
    await page.screenshot({ path: path.join(folder, `${name}.webp`), type: "webp", quality: 80, fullPage: words.includes("whole") });
    await page.close();
  }
  await browser.close();
})();
