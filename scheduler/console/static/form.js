/**
 * Forms and questions.
 *
 * Owns: fields, and where a refusal is shown. Invariant: a refusal that names a field is shown at that field.
 */

import { Problem } from "./api.js";
import { h, replace } from "./dom.js";

/**
 * A labelled field.
 * @param {string} name As the API calls it.
 * @param {string} label
 * @param {Record<string, unknown>} [properties] Of the input; `options` makes it a select, `rows` a text area.
 * @param {string} [hint]
 */
export function field(name, label, { options, rows, ...properties } = {}, hint = "") {
  const id = `field-${name.replaceAll(".", "-")}`;
  const more = { id, name, ...properties, "aria-describedby": `${id}-told` };
  let input;
  if (options) {
    input = h("select", more, options.map(([value, text]) => h("option", { value, selected: value === properties.value }, text)));
  } else if (rows) input = h("textarea", { ...more, rows });
  else input = h("input", { type: "text", autocomplete: "off", ...more });
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    h("p", { class: "told hint", id: `${id}-told`, "data-hint": hint }, hint),
  );
}

/**
 * A form whose `send` may raise a Problem.
 * @param {{class?: string, button: string, cancel?: () => void}} how
 * @param {(values: FormData) => Promise<void>} send
 * @param {...import("./dom.js").Child} fields
 */
export function form(how, send, ...fields) {
  const wrong = h("p", { class: "wrong", role: "alert" });
  const button = h("button", { class: "primary" }, how.button);
  const element = h(
    "form",
    {
      class: how.class,
      novalidate: true,
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        clear(element, wrong);
        button.disabled = true;
        try {
          await send(new FormData(element));
        } catch (problem) {
          tell(element, wrong, problem);
        } finally {
          button.disabled = false;
        }
      },
    },
    fields,
    wrong,
    h("div", { class: "actions" }, how.cancel && h("button", { type: "button", onclick: how.cancel }, "Back"), button),
  );
  return element;
}

/** @param {HTMLElement} element @param {HTMLElement} wrong */
function clear(element, wrong) {
  replace(wrong);
  for (const input of element.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const told of element.querySelectorAll(".told")) {
    told.className = "told hint";
    replace(told, told.dataset.hint);
  }
}

/** @param {HTMLElement} element @param {HTMLElement} wrong @param {any} problem */
function tell(element, wrong, problem) {
  const input = problem.field && element.elements.namedItem(problem.field);
  if (!(input instanceof Element)) {
    replace(wrong, problem.message);
    return;
  }
  input.setAttribute("aria-invalid", "true");
  const told = document.getElementById(`${input.id}-told`);
  told.className = "told wrong";
  replace(told, problem.message);
  input.focus();
}

/** A number that was typed, or undefined. @param {FormData} values @param {string} name */
export function number(values, name) {
  const typed = String(values.get(name) ?? "").replaceAll(/[\s,_]/g, "");
  return typed === "" ? undefined : Number.isNaN(Number(typed)) ? typed : Number(typed);
}

/** A text that was typed, or undefined. @param {FormData} values @param {string} name */
export const typed = (values, name) => String(values.get(name) ?? "").trim() || undefined;

/** Labels that were typed as NAME=VALUE; what a word of them may be, the API says. @param {FormData} values @param {string} name */
export function labels(values, name) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const pair of String(values.get(name) ?? "").split(/[\s,]+/).filter(Boolean)) {
    const equals = pair.indexOf("=");
    if (equals < 0) throw new Problem(422, `${pair} is not NAME=VALUE, as in gpu=h100`, name);
    const label = pair.slice(0, equals);
    if (Object.hasOwn(found, label)) throw new Problem(422, `${label} is given twice`, name);
    found[label] = pair.slice(equals + 1);
  }
  return found;
}

/**
 * Ask in a dialog.
 * @param {(close: () => void) => HTMLElement} build
 */
export function ask(build) {
  const dialog = h("dialog", { onclose: () => dialog.remove() });
  dialog.append(build(() => dialog.close()));
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * Ask before something that cannot be undone.
 * @param {{title: string, text: string, button: string}} what
 * @param {() => Promise<void>} act
 */
export function confirmed(what, act) {
  ask((close) =>
    form(
      { button: what.button, cancel: close },
      async () => {
        await act();
        close();
      },
      h("h2", {}, what.title),
      h("p", {}, what.text),
    ),
  );
}
