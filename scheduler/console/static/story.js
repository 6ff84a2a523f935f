/** The full story of a prompt: what it asks, what is believed of it, and everything that happened to it. */

import { get, part, post } from "./api.js";
import { badge, bar } from "./badges.js";
import { completionsCard } from "./completions.js";
import { h, replace, say } from "./dom.js";
import { ENDED, runHead } from "./run.js";
import { clock, count, decimal, plural, rate, spaced } from "./words.js";

/** @param {HTMLElement} main @param {AbortSignal} signal @param {string} runId @param {string} promptId */
export function storyPage(main, signal, runId, promptId) {
  const story = h("div", {}, h("p", { class: "empty" }, "Asking the scheduler…"));
  const path = `/v1/runs/${part(runId)}`;
  main.append(runHead(runId, "Prompts", signal), story, completionsCard(runId, promptId, signal));
  const look = async () => {
    try {
      const [found, run] = await Promise.all([get(`${path}/prompts/${part(promptId)}/explain`, signal), get(path, signal)]);
      const [pool, name] = origin(run, promptId);
      const content = await get(`/v1/pools/${part(pool)}/prompts/${part(name)}`, signal);
      replace(story, told(found, content, run, look));
    } catch (problem) {
      if (!signal.aborted) replace(story, h("p", { class: "empty wrong", role: "alert" }, problem.message));
    }
  };
  look();
  return promptId;
}

/** The pool of a prompt and its id there: where a run mixes pools, its prompts are called POOL:PROMPT. @param {any} run @param {string} promptId */
function origin(run, promptId) {
  const end = promptId.indexOf(":");
  return run.pools.length > 1 ? [promptId.slice(0, end), promptId.slice(end + 1)] : [run.pool, promptId];
}

/** @param {any} found @param {any} content @param {any} run @param {() => void} look */
function told(found, content, run, look) {
  const { prompt } = found;
  const set = !ENDED.has(run.state) && ["waiting", "quarantined"].includes(prompt.state);
  return [
    h(
      "section",
      { class: "card" },
      h("div", { class: "head" }, h("h2", { class: "title" }, prompt.prompt_id, " ", badge(prompt.state)), h("div", { class: "orders" }, h("button", { type: "button", id: "again", onclick: look }, "Look again"), set && h("button", { type: "button", class: "primary", onclick: () => reinstate(run.run_id, prompt.prompt_id, look) }, "Reinstate"))),
      h("p", {}, belief(prompt)),
      h("p", {}, claimable(found)),
      prompt.visits > 0 && bar([{ share: prompt.success_rate, tone: "good", title: "expected to be right" }, { share: 1 - prompt.success_rate, tone: "rest", title: "expected to be wrong" }], `${rate(prompt.success_rate)} expected to be right`),
    ),
    h(
      "section",
      { class: "card" },
      h("h3", {}, "What it asks"),
      content.text ? h("pre", {}, content.text) : h("p", { class: "hint" }, `It was given as ${plural(content.num_tokens, "token")}, without text.`),
      h("p", { class: "answer" }, h("span", { class: "hint" }, "Reference answer "), content.answer ? h("code", {}, content.answer) : "none"),
    ),
    h("section", { class: "card" }, h("h3", {}, "What happened"), prompt.history.length ? h("ol", { class: "log" }, prompt.history.map((event) => entry(event, found))) : h("p", { class: "empty" }, "Nothing yet.")),
  ];
}

/** @param {string} runId @param {string} promptId @param {() => void} look */
async function reinstate(runId, promptId, look) {
  try {
    await post(`/v1/runs/${part(runId)}/prompts/${part(promptId)}/reinstate`);
    say("It can be claimed again.");
  } catch (problem) {
    say(problem.message, "bad");
  }
  look();
}

/** @param {any} prompt */
function belief(prompt) {
  if (!prompt.visits) return "It was never visited.";
  return `After ${plural(prompt.visits, "visit")}, with ${plural(prompt.num_pilots, "pilot")} and ${plural(prompt.num_commits, "commit")}, ${rate(prompt.success_rate)} of its rollouts are expected to be right: informativeness ${decimal(prompt.informativeness, 3)}, ${plural(Math.round(prompt.tokens_per_rollout), "token")} each.`;
}

/** @param {any} found */
function claimable({ prompt, policy_version, run_state, position, open_visit }) {
  if (ENDED.has(run_state)) return `It is not claimed any more: the run is ${run_state}.`;
  const last = [prompt.last_verdict, spaced(prompt.reason)].filter(Boolean).join(": ");
  switch (prompt.state) {
    case "claimed":
      return open_visit ? `It is in a visit now: ${open_visit.in_flight} in flight, ${open_visit.held} held, ${open_visit.reserved} reserved.` : "It is in a visit now.";
    case "waiting":
      if (prompt.next_version === null) return `It never returns (${last}), unless it is reinstated.`;
      return `It waits until weight version ${prompt.next_version} (${last}); the policy's is ${policy_version} now.`;
    case "quarantined":
      return "It is quarantined, and not claimed again unless it is reinstated.";
    default:
      return position === null ? "It can be claimed." : `It can be claimed; ${plural(position, "prompt")} come before it.`.replace("1 prompt come", "1 prompt comes");
  }
}

/** @param {any} event @param {any} found */
function entry(event, found) {
  const visit = found.visits.find((one) => one.visit_id === event.visit_id);
  const ended = event.what === "published" ? "commit" : event.what;
  const facts = [
    event.visit_id && `${event.correct} of ${plural(event.pilots, "pilot")} right`,
    event.reason && spaced(event.reason),
    event.step !== null && `in step ${event.step}`,
    visit && fate(visit),
  ].filter(Boolean);
  return h(
    "li",
    {},
    h("time", {}, clock(event.at)),
    h("div", {}, badge(ended), " ", facts.join(", "), h("span", { class: "hint" }, ` at version ${event.version}`), visit && visit.attempts.length > 0 && attempts(visit)),
  );
}

/** What became of a visit's rollouts. @param {any} visit */
function fate(visit) {
  const rewarded = visit.attempts.filter((attempt) => attempt.reward !== null);
  const right = rewarded.filter((attempt) => attempt.correct).length;
  const group = visit.group_ending;
  const end = group ? (group.what === "trained" ? `trained in step ${group.step}` : [spaced(group.what), group.reason].filter(Boolean).join(": ")) : spaced(visit.status);
  return rewarded.length > visit.attempts.filter((attempt) => attempt.stage === "pilot").length ? `${right} of ${plural(rewarded.length, "rollout")} right, ${end}` : end;
}

/** @param {any} visit */
function attempts(visit) {
  return h(
    "details",
    {},
    h("summary", {}, plural(visit.attempts.length, "attempt")),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ["Stage", "Became", "Server"].map((name) => h("th", {}, name)), ["Version", "Tokens", "Reward"].map((name) => h("th", { class: "num" }, name)))),
      h("tbody", {}, visit.attempts.map((attempt) =>
        h(
          "tr",
          { title: attempt.rid },
          h("td", {}, attempt.stage),
          h("td", {}, badge(attempt.status), attempt.reason && h("div", { class: "hint" }, attempt.reason)),
          h("td", { class: "hint" }, attempt.server.replace(/^https?:\/\//, "")),
          h("td", { class: "num" }, versions(attempt)),
          h("td", { class: "num" }, count(attempt.tokens)),
          h("td", { class: "num" }, attempt.reward === null ? "–" : `${attempt.correct ? "right" : "wrong"}, ${attempt.reward}`),
        ),
      )),
    ),
  );
}

/** @param {any} attempt */
function versions({ oldest_version, newest_version }) {
  if (oldest_version === null) return "–";
  return oldest_version === newest_version ? String(oldest_version) : `${oldest_version}–${newest_version}`;
}
