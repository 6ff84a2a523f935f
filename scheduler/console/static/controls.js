/** What an operator can order of a run. */

import { part, post } from "./api.js";
import { h, say } from "./dom.js";
import { ask, confirmed, field, form, number } from "./form.js";
import { took } from "./live.js";
import { count } from "./words.js";

/** @param {any} run */
export function controls(run) {
  const path = `/v1/runs/${part(run.run_id)}`;
  const order = (/** @type {string} */ what) => async () => {
    try {
      took(await post(`${path}/${what}`));
    } catch (problem) {
      say(problem.message, "bad");
    }
  };
  const begins = { queued: true, waiting_weights: true, running: true }[run.state];
  return [
    begins && h("button", { id: "order-pause", type: "button", onclick: order("pause") }, "Pause"),
    run.state === "paused" && h("button", { id: "order-resume", class: "primary", type: "button", onclick: order("resume") }, "Resume"),
    run.state !== "draining" && h("button", { id: "order-budget", type: "button", onclick: () => raise(run, path) }, "Raise budget"),
    h("button", { id: "order-cancel", class: "danger", type: "button", onclick: () => cancel(run, path) }, "Cancel run"),
  ];
}

/** @param {any} run @param {string} path */
function cancel(run, path) {
  confirmed(
    {
      title: `Cancel ${run.run_id}?`,
      text: "What is in flight is aborted. The learner gets a while to save what it has applied. A cancelled run does not come back.",
      button: "Cancel run",
    },
    async () => took(await post(`${path}/cancel`)),
  );
}

const LIMITS = [
  ["rollouts", "Rollouts"],
  ["tokens", "Generated tokens"],
  ["wall_clock_s", "Seconds"],
  ["eval_rollouts", "Evaluation rollouts"],
];

/** @param {any} run @param {string} path */
function raise(run, path) {
  const limited = LIMITS.filter(([name]) => run.config.budget[name] !== null);
  ask((close) =>
    limited.length
      ? form(
          { button: "Raise", cancel: close },
          async (values) => {
            const limits = Object.fromEntries(limited.map(([name]) => [name, number(values, name)]).filter(([, limit]) => limit !== undefined));
            took(await post(`${path}/budget`, limits));
            close();
          },
          h("h2", {}, "Raise the budget"),
          h("p", {}, "New limits, what is spent already included. They hold at once and cannot be taken back."),
          limited.map(([name, label]) =>
            field(name, label, { inputmode: "numeric", value: run.config.budget[name] }, `now ${count(run.config.budget[name])}`),
          ),
        )
      : h("form", { method: "dialog" }, h("h2", {}, "Raise the budget"), h("p", {}, "This run has no limits to raise."), h("div", { class: "actions" }, h("button", {}, "Close"))),
  );
}
