/** What a profile has found out about its pool: how often prompts are right, and what the allocator would do with them. */

import { badge, bar } from "./badges.js";
import { h } from "./dom.js";
import { count, plural, rate } from "./words.js";

/** @param {any} found @param {any} run */
export function profileCard(found, run) {
  const title = h("h3", {}, "How hard its pool is");
  if (!found.prompts) return h("section", { class: "card", id: "profile" }, title, h("p", { class: "empty" }, "No prompt has all of its pilots yet."));
  return h("section", { class: "card flush", id: "profile" }, title, h("p", { class: "hint" }, shares(found, run)), h("p", { class: "hint" }, foretold(found, run)), histogram(found));
}

/** @param {any} found @param {any} run */
function shares(found, run) {
  const all = Object.values(run.prompts).reduce((sum, size) => sum + size, 0);
  const unfinished = found.unfinished ? `; ${count(found.unfinished)} lack some` : "";
  return `${count(found.prompts)} of ${plural(all, "prompt")} with ${plural(found.pilots, "pilot")} each${unfinished}: ${rate(found.all_wrong_rate)} all wrong, ${rate(found.mixed_rate)} mixed, ${rate(found.all_right_rate)} all right.`;
}

/** @param {any} found @param {any} run */
function foretold(found, run) {
  const more = found.decisions.more ? `; ${plural(found.decisions.more, "prompt")} would get more pilots` : "";
  return `By ${run.allocator}, the skip rate would be about ${rate(found.skip_rate)} of what it decides on so few${more}.`;
}

/** @param {any} found */
function histogram(found) {
  const most = Math.max(...found.bars.map((/** @type {any} */ one) => one.prompts));
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, h("th", {}, "Right"), h("th", { class: "num" }, "Prompts"), h("th", {}, h("span", { class: "unseen" }, "As a bar")), h("th", {}, "Decision"))),
    h("tbody", {}, found.bars.map((/** @type {any} */ one) =>
      h(
        "tr",
        {},
        h("td", { class: "lead whole" }, `${one.correct} of ${found.pilots}`),
        h("td", { class: "num" }, count(one.prompts)),
        h("td", { class: "drawn" }, bar([{ share: one.prompts / most, tone: one.decision === "commit" ? "commit" : "gone", title: rate(one.pass_rate) }], plural(one.prompts, "prompt"))),
        h("td", {}, decided(one.decision)),
      ),
    )),
  );
}

/** @param {string} decision */
const decided = (decision) => (decision === "more" ? h("span", { class: "hint" }, "more pilots") : badge(decision));
