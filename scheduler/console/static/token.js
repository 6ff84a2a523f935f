/**
 * The question for a token, where the scheduler has tokens.
 *
 * Owns: the dialog. Invariant: however many requests wait for a token, it is asked for once.
 */

import { h } from "./dom.js";

/** @type {Promise<string> | null} */
let asking = null;

/** Ask for a token; `refused` says why the last one was not taken. @param {string} refused @returns {Promise<string>} */
export function askToken(refused) {
  asking ??= ask(refused).finally(() => {
    asking = null;
  });
  return asking;
}

/** @param {string} refused @returns {Promise<string>} */
function ask(refused) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", id: "token", autocomplete: "off", required: true, spellcheck: "false" });
    const form = h(
      "form",
      {
        method: "dialog",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          dialog.remove();
          resolve(input.value.trim());
        },
      },
      h("h2", {}, "This scheduler has tokens"),
      h("p", {}, "Paste one made with ", h("code", {}, "pilotcommit token create"), ". It stays in this tab until you close it."),
      h("label", { for: "token" }, "Token"),
      input,
      refused && h("p", { class: "wrong", role: "alert" }, refused),
      h("div", { class: "actions" }, h("button", { class: "primary" }, "Continue")),
    );
    // It cannot be dismissed: without a token there is nothing to see.
    const dialog = h("dialog", { oncancel: (/** @type {Event} */ event) => event.preventDefault() }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
}
