/** The fleet: its servers, and how it changes. */

import { part, post, remove } from "./api.js";
import { badge, bar, labelled } from "./badges.js";
import { h, say, shown } from "./dom.js";
import { confirmed, field, form, labels, typed } from "./form.js";
import { fleet, link, onNews } from "./live.js";
import { count, DASH } from "./words.js";

/** @param {HTMLElement} main @param {AbortSignal} signal */
export function fleetPage(main, signal) {
  const list = h("div", { class: "card flush" });
  const adding = form(
    { class: "inline", button: "Add server" },
    async (values) => {
      const added = await post("/v1/servers", { url: typed(values, "url") ?? "", labels: labels(values, "labels") });
      adding.reset();
      say(`${added.url} is ${added.state}.`);
    },
    field("url", "Address of another server", { type: "url", placeholder: "http://10.0.0.7:30000" }),
    field("labels", "Its labels, if any", { placeholder: "gpu=h100 zone=a" }),
  );
  main.append(h("div", { class: "head" }, h("h1", {}, "Fleet")), list, h("section", { class: "card" }, adding));
  const update = shown(list);
  const show = () => update([link.known, fleet.servers], () => (fleet.servers.length ? table(fleet.servers) : h("p", { class: "empty" }, link.known ? "The fleet has no server. Add one below, or name them in PILOTCOMMIT_SERVERS." : "Asking the scheduler…")));
  onNews(signal, show);
  show();
  return "Fleet";
}

/** @param {any[]} servers */
function table(servers) {
  return h(
    "table",
    { class: "stacks" },
    h("thead", {}, h("tr", {}, ["Server", "State", "Wanted"].map((name) => h("th", {}, name)), ["Weights", "In flight"].map((name) => h("th", { class: "num" }, name)), h("th", {}, h("span", { class: "unseen" }, "Orders")))),
    h("tbody", {}, servers.map(row)),
  );
}

/** @param {any} server */
function row(server) {
  const load = `${count(server.in_flight)} of ${count(server.capacity)}`;
  return h(
    "tr",
    {},
    h("td", { class: "lead id" }, server.url, h("div", { class: "hint" }, labelled(server.labels)), server.run && h("div", { class: "hint" }, `of run ${server.run}`)),
    h("td", { "data-label": "State" }, badge(server.state), server.reason && h("div", { class: "hint" }, server.reason), server.warnings.map((/** @type {string} */ warning) => h("div", { class: "hint warning" }, h("b", {}, "Warning: "), warning))),
    h("td", { "data-label": "Wanted" }, badge(server.standing)),
    h("td", { class: "num", "data-label": "Weights" }, server.version ? `v${server.version}` : DASH),
    h("td", { class: "num", "data-label": "In flight" }, load, bar([{ share: server.in_flight / Math.max(1, server.capacity), tone: "commit", title: load }], load)),
    h("td", { class: "orders" }, orders(server)),
  );
}

/** @param {any} server */
function orders(server) {
  const path = `/v1/servers/${part(server.server_id)}`;
  const order = (/** @type {string} */ what) => async () => {
    try {
      await post(`${path}/${what}`);
    } catch (problem) {
      say(problem.message, "bad");
    }
  };
  const button = (/** @type {string} */ name, /** @type {() => void} */ act, kind = "") =>
    h("button", { type: "button", class: kind, id: `${name}-${server.server_id}`, "aria-label": `${name} ${server.url}`, onclick: act }, name);
  const leave = () =>
    confirmed(
      { title: "Remove this server?", text: `${server.url} gets nothing new, and leaves the fleet once nothing is in flight.`, button: "Remove" },
      async () => {
        await remove(path);
      },
    );
  return [
    server.standing === "serving" ? button("Drain", order("drain")) : server.standing !== "gone" && button("Resume", order("resume")),
    server.standing !== "leaving" && server.standing !== "gone" && button("Remove", leave, "danger"),
  ];
}
