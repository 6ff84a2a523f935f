/** The course of a run: what happened to it as a whole. */

import { get, part } from "./api.js";
import { badge } from "./badges.js";
import { h, shown } from "./dom.js";
import { onNews, runs } from "./live.js";
import { runHead } from "./run.js";
import { clock, duration, plural, spaced } from "./words.js";

/** @param {HTMLElement} main @param {AbortSignal} signal @param {string} runId */
export function eventsPage(main, signal, runId) {
  const times = h("p", { class: "hint" });
  const log = h("section", { class: "card" });
  main.append(runHead(runId, "Events", signal), times, log);
  const [showTimes, showLog] = [shown(times), shown(log)];
  let before = "";
  const look = async () => {
    const run = runs.get(runId);
    // What the course tells of shows in these, or comes with a new minute.
    const now = JSON.stringify([run?.state, run?.reason, run?.waiting_for, run?.version, run?.config.budget, Math.floor(Date.now() / 10000)]);
    if (now === before) return;
    before = now;
    try {
      const { course, state_s } = await get(`/v1/runs/${part(runId)}/explain`, signal);
      showTimes(state_s, () => Object.entries(state_s).filter(([, seconds]) => seconds >= 1).map(([state, seconds]) => `${duration(seconds)} ${spaced(state)}`).join(" · "));
      showLog(course, () => (course.length ? h("ol", { class: "log" }, [...course].reverse().map(entry)) : h("p", { class: "empty" }, "Nothing has happened yet.")));
    } catch (problem) {
      if (!signal.aborted) showLog(problem.message, () => h("p", { class: "empty wrong", role: "alert" }, problem.message));
    }
  };
  onNews(signal, look);
  look();
  return `Events of ${runId}`;
}

/** @param {any} event */
const entry = (event) => h("li", {}, h("time", {}, clock(event.at)), h("div", {}, sentence(event)));

/** @param {any} event */
function sentence(event) {
  const reason = event.reason && h("span", { class: "hint" }, ` ${event.reason}`);
  switch (event.what) {
    case "state":
      return [badge(event.state), reason];
    case "ending":
      return ["It is to end as ", badge(event.state), reason];
    case "learner":
      return [`A learner attached, resuming from step ${event.step ?? 0}`, groups(event), h("span", { class: "hint" }, ` ${event.who}`)];
    case "scheduler":
      return "A scheduler took it up";
    case "stall":
      return [h("b", {}, "It stood still"), h("span", { class: "hint" }, ` waiting for ${event.reason}`)];
    case "budget":
      return [h("b", {}, "Its budget was raised"), h("span", { class: "hint" }, ` ${spaced(event.reason)}`)];
    default:
      return [spaced(event.what), reason];
  }
}

/** What became of the groups that an earlier learner had left. @param {any} event */
function groups(event) {
  const parts = [
    event.trained && `${plural(event.trained, "group")} in its checkpoint`,
    event.redelivered && `${event.redelivered} delivered again`,
    event.rolled_back && `${event.rolled_back} rolled back`,
  ].filter(Boolean);
  return parts.length ? `: ${parts.join(", ")}` : "";
}
