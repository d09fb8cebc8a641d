// A browser that does what it is told, with scripts switched off: one JSON command a line on stdin, one JSON answer a line.
// node drive.cjs BASE
const fs = require("fs");
const readline = require("readline");
const puppeteer = require("puppeteer-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const base = process.argv[2];
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const options = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic --hide-scrollbars";
const seen = { foreign: [], said: [] };
let browser, context, page, scripted = false, size = [1280, 860, 1];

const viewport = ([width, height, deviceScaleFactor]) => ({ width, height, deviceScaleFactor });
const schemed = (scheme) => page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }]);

async function fresh() {
  context = await browser.createBrowserContext();
  page = await context.newPage();
  page.setDefaultTimeout(60000);
  await page.setJavaScriptEnabled((scripted = false));
  await page.setViewport(viewport(size));
  await page.setExtraHTTPHeaders({ "Accept-Language": "en" });
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(base)) seen.foreign.push(request.url());
  });
  page.on("console", (message) => {
    // A status that says what is wrong with a form is no fault of the page's.
    if (["error", "warn"].includes(message.type()) && !/status of (40|42)/.test(message.text())) seen.said.push(message.text());
  });
  page.on("pageerror", (error) => seen.said.push(String(error)));
}

// What a page says and how it is built is the same in each scheme; only its colours are others.
async function violations(scheme, run) {
  await schemed(scheme);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth + 1);
  // Axe waits on timers, which a page without scripts has none of; the page itself has no script.
  await page.setJavaScriptEnabled(true);
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
  const result = await page.evaluate(`axe.run(document, {runOnly: ${JSON.stringify(run)}})`);
  await page.setJavaScriptEnabled(scripted);
  const found = result.violations.map((one) => `${scheme} ${one.id}: ${one.nodes[0].html.slice(0, 200)} ${one.nodes[0].failureSummary}`);
  return wide ? [...found, `${scheme} wider than the screen`] : found;
}

const commands = {
  open: async ({ path }) => void (await page.goto(path.startsWith("http") ? path : base + path)),
  language: async ({ code }) => void (await page.setExtraHTTPHeaders({ "Accept-Language": code })),
  resize: async ({ width, height, scale }) => void (await page.setViewport(viewport((size = [width, height, scale])))),
  // Fields are found by their labels, as people find them.
  fill: async ({ label, value }) => {
    const there = await page.evaluate(({ label, value }) => {
      const id = [...document.querySelectorAll("label")].find((one) => one.textContent.trim() === label)?.htmlFor;
      const field = id && document.getElementById(id);
      if (field) field.value = value;
      return Boolean(field);
    }, { label, value });
    if (!there) throw new Error(`no field '${label}' on ${page.url()}`);
  },
  press: async ({ name }) => {
    const handle = await page.evaluateHandle((name) => [...document.querySelectorAll("button, a")]
      .find((one) => [one.textContent.trim(), one.getAttribute("aria-label")].includes(name)), name);
    const found = handle.asElement();
    if (!found) throw new Error(`nothing called '${name}' on ${page.url()}: ${await page.$eval("body", (one) => one.innerText)}`);
    await Promise.all([page.waitForNavigation(), found.click()]);
  },
  text: async () => page.$eval("body", (one) => one.innerText),
  title: async () => page.title(),
  where: async () => page.url().slice(base.length),
  focused: async () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id),
  tab: async ({ times }) => {
    const passed = [];
    for (let i = 0; i < times; i++) {
      await page.keyboard.press("Tab");
      passed.push(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim()));
    }
    return passed;
  },
  cookies: async () => (await context.cookies()).map(({ name, value, httpOnly, secure, sameSite }) => ({ name, value, httpOnly, secure, sameSite })),
  enter: async () => void (await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")])),
  look: async () => [...(await violations("light", rules)), ...(await violations("dark", { type: "rule", values: ["color-contrast", "link-in-text-block"] }))],
  shoot: async ({ file, scheme, whole = true }) => {
    await schemed(scheme);
    await page.screenshot({ path: file, fullPage: whole, type: file.split(".").pop(), ...(file.endsWith("webp") && { quality: 82 }) });
  },
  // A device with passkeys, which knows who holds it; pages may run scripts from now on.
  passkeys: async () => {
    await page.setJavaScriptEnabled((scripted = true));
    const devices = await page.createCDPSession();
    await devices.send("WebAuthn.enable");
    await devices.send("WebAuthn.addVirtualAuthenticator", { options: {
      protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
      automaticPresenceSimulation: true,
    } });
  },
  // The same browser and its devices, without its cookies.
  forget: async () => void (await context.deleteCookie(...(await context.cookies()))),
  fresh,
  seen: async () => seen,
};

(async () => {
  browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: options.split(" ") });
  await fresh();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { command, ...given } = JSON.parse(line);
    let answer;
    try {
      answer = { done: (await commands[command](given)) ?? null };
    } catch (error) {
      answer = { failed: String(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  await browser.close();
})();
