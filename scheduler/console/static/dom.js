/**
 * Elements of the page.
 *
 * Owns: how they are made. Invariant: what comes from outside becomes a text node or an attribute's value, never markup.
 */

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

/**
 * An element. Properties named on… are listeners, `true` is an attribute without a value, `false` and null none.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

/** @param {Child[]} children @returns {(Node | string)[]} */
function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Put children in the place of those that are there; whoever had the keyboard keeps it, if it comes again by its id.
 * @param {Element} parent
 * @param {...Child} children
 */
export function replace(parent, ...children) {
  const held = parent.contains(document.activeElement) ? document.activeElement.id : "";
  parent.replaceChildren(...nodes(children));
  if (held) document.getElementById(held)?.focus();
}

/**
 * A part of the page that is built anew only when what it shows has changed.
 * @param {Element} parent
 * @returns {(facts: unknown, build: () => Child | Child[]) => void}
 */
export function shown(parent) {
  let before;
  return (facts, build) => {
    const now = JSON.stringify(facts);
    if (now === before) return;
    before = now;
    replace(parent, build());
  };
}

/** Says something to those who listen to the page as well. @param {string} text @param {string} [kind] */
export function say(text, kind = "") {
  const note = h("div", { class: `note ${kind}`, role: "status" }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), 6000);
}
