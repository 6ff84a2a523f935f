/** What became of every attempt. */

import { bar } from "./badges.js";
import { h } from "./dom.js";
import { count, rate, spaced } from "./words.js";

/** In the order in which they are shown, with their colours. */
const STATUSES = {
  trained: "good", evaluated: "good", applied: "commit", published: "commit", held: "busy", in_flight: "busy",
  skipped: "skip", deferred: "defer", evicted: "evict", surplus: "wait", expired: "wait", incomplete: "wait",
  rolled_back: "gone", cancelled: "gone", failed: "bad", lost: "bad",
};

/** @param {any} ledger */
export function ledgerCard(ledger) {
  const stages = Object.entries(ledger.stages).filter(([, line]) => line.attempts);
  return h(
    "section",
    { class: "card" },
    h("h3", {}, "What became of every attempt"),
    stages.length
      ? stages.map(([stage, line]) => stageLine(stage, line))
      : h("p", { class: "empty" }, "No attempt has been made yet."),
    reasons(ledger.reasons),
    !ledger.balanced && h("p", { class: "wrong" }, "The ledger does not balance: open states and outcomes are not the attempts made."),
  );
}

/** @param {string} stage @param {any} line */
function stageLine(stage, line) {
  const found = { ...line.open, ...line.outcomes };
  const parts = Object.entries(STATUSES).filter(([status]) => found[status]);
  const told = (/** @type {string} */ status) => `${count(found[status])} ${spaced(status)}`;
  return h(
    "div",
    { class: "stage" },
    h("div", { class: "row" }, h("b", {}, { pilot: "Pilots", commit: "Commits", eval: "Evaluation" }[stage]), h("span", { class: "hint" }, `${count(line.attempts)} attempts, ${count(line.tokens)} tokens`)),
    bar(parts.map(([status, tone]) => ({ share: found[status] / line.attempts, tone, title: told(status) })), parts.map(([status]) => told(status)).join(", ")),
    h("ul", { class: "legend" }, parts.map(([status, tone]) => h("li", {}, h("i", { class: `swatch ${tone}` }), spaced(status), h("b", {}, count(found[status])), h("span", { class: "hint" }, rate(found[status] / line.attempts))))),
  );
}

/** @param {Record<string, number>} found */
function reasons(found) {
  const most = Object.entries(found).sort(([, one], [, other]) => other - one);
  if (!most.length) return null;
  return h(
    "div",
    { class: "stage" },
    h("div", { class: "row" }, h("b", {}, "Why prompts were not committed")),
    h("ul", { class: "legend" }, most.map(([name, number]) => {
      const [verdict, reason] = name.split(":");
      return h("li", {}, h("i", { class: `swatch ${verdict}` }), `${verdict}: ${spaced(reason)}`, h("b", {}, count(number)));
    })),
  );
}
