/** What a prompt's rollouts said, visit by visit; asked for only when somebody wants to read it. */

import { get, part } from "./api.js";
import { badge } from "./badges.js";
import { h, replace } from "./dom.js";
import { clock, count, plural, spaced } from "./words.js";

/** @param {string} runId @param {string} promptId @param {AbortSignal} signal */
export function completionsCard(runId, promptId, signal) {
  const list = h("div", { class: "completions" });
  const foot = h("div", { class: "foot" });
  const look = async (/** @type {number} */ offset) => {
    try {
      const page = await get(`/v1/runs/${part(runId)}/prompts/${part(promptId)}/completions?count=3&offset=${offset}`, signal);
      list.append(...page.visits.map(visit));
      const all = page.num_visits ? `${plural(page.num_visits, "visit")}, that is all` : "It was never visited.";
      replace(foot, page.next_offset === null ? h("span", { class: "hint" }, all) : button("Earlier visits", () => look(page.next_offset)));
    } catch (problem) {
      if (!signal.aborted) replace(foot, h("p", { class: "wrong", role: "alert" }, problem.message));
    }
  };
  replace(foot, button("Show completions", () => look(0)));
  return h("section", { class: "card" }, h("h3", {}, "What its rollouts said"), list, foot);
}

/** @param {string} text @param {() => void} press */
const button = (text, press) => h("button", { type: "button", id: "completions", onclick: press }, text);

/** @param {any} found */
function visit(found) {
  const ended = found.verdict === "published" ? "commit" : found.verdict;
  const facts = [
    found.pilots && `${found.correct} of ${plural(found.pilots, "pilot")} right`,
    found.reason && spaced(found.reason),
    found.group_ending && `group ${spaced(found.group_ending.what)}${found.group_ending.step === null ? "" : ` in step ${found.group_ending.step}`}`,
    found.version !== null && `at version ${found.version}`,
  ].filter(Boolean);
  return h(
    "div",
    { class: "visit" },
    h("p", { title: found.visit_id }, ended ? badge(ended) : h("span", { class: "hint" }, "still open"), " ", facts.join(", "), found.at !== null && h("time", { class: "hint" }, ` ${clock(found.at)}`)),
    !found.recorded && h("p", { class: "hint" }, "Its attempts are not recorded any more."),
    found.recorded && !found.kept && h("p", { class: "hint" }, "The texts of its completions are not kept (any more)."),
    found.completions.map(completion),
  );
}

/** @param {any} found */
function completion(found) {
  const versions = found.oldest_version === found.newest_version ? found.oldest_version : `${found.oldest_version}–${found.newest_version}`;
  const judged = found.reward === null ? [spaced(found.status), found.reason].filter(Boolean).join(": ") : `${found.correct ? "right" : "wrong"}, reward ${found.reward}, ${plural(found.tokens, "token")}, version ${versions}, ${found.finish_reason}`;
  const title = h("summary", { title: found.rid }, `${found.stage}: ${judged}`);
  if (found.text === null) return h("p", { class: "hint", title: found.rid }, `${found.stage}: ${judged}`);
  const cut = found.chars > [...found.text].length && h("p", { class: "hint" }, `${count(found.chars)} characters; the middle is left out.`);
  return h("details", {}, title, h("pre", {}, found.text), cut);
}
