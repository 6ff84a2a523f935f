/**
 * Light or dark.
 *
 * Owns: the choice, and the colours that charts are drawn in. Invariant: the choice of the system holds until another is
 * made, which this browser keeps.
 */

const KEY = "pilotcommit-theme";
const CHOICES = ["auto", "light", "dark"];
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const changes = new EventTarget();

/** @param {HTMLElement} button */
export function install(button) {
  const show = () => {
    const choice = localStorage.getItem(KEY) ?? "auto";
    document.documentElement.dataset.theme = choice;
    button.textContent = NAMES[choice] ?? NAMES.auto;
    changes.dispatchEvent(new Event("change"));
  };
  button.addEventListener("click", () => {
    const place = CHOICES.indexOf(localStorage.getItem(KEY) ?? "auto");
    localStorage.setItem(KEY, CHOICES[(place + 1) % CHOICES.length]);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

/** @param {AbortSignal} signal @param {() => void} listener */
export function onChange(signal, listener) {
  changes.addEventListener("change", listener, { signal });
}

/** A colour of the style sheet, by its name there. @param {string} name */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
