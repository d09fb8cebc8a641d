// Passkeys: the one thing on these pages that needs a script. A form with `data-passkey` has the browser make or use one by the options
// that it carries, and is then sent as any other form is, with what the browser gave. Without a script it stays hidden.
"use strict";

const octets = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const written = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const described = (list) => (list ?? []).map((one) => ({ ...one, id: octets(one.id) }));

const ways = {
  create: (given) =>
    navigator.credentials.create({
      publicKey: {
        ...given,
        challenge: octets(given.challenge),
        user: { ...given.user, id: octets(given.user.id) },
        excludeCredentials: described(given.excludeCredentials),
      },
    }),
  get: (given) =>
    navigator.credentials.get({
      publicKey: {
        ...given,
        challenge: octets(given.challenge),
        allowCredentials: described(given.allowCredentials),
      },
    }),
};

const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];

function plain(credential) {
  const response = {};
  for (const name of parts) {
    if (credential.response[name]) response[name] = written(credential.response[name]);
  }
  if (credential.response.getTransports) response.transports = credential.response.getTransports();
  return {
    id: credential.id, rawId: written(credential.rawId), type: credential.type, response, clientExtensionResults: {},
    authenticatorAttachment: credential.authenticatorAttachment ?? null,
  };
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  form.hidden = false;
  const fault = form.querySelector("[data-fault]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    fault.hidden = true;
    try {
      const credential = await ways[form.dataset.passkey](JSON.parse(form.dataset.options));
      form.elements.credential.value = JSON.stringify(plain(credential));
      form.submit();
    } catch {
      fault.hidden = false;
    }
  });
}
