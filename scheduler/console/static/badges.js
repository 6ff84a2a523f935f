/**
 * States in their colours, and bars.
 *
 * Owns: which colour a state has. Invariant: a colour never says anything that the word beside it does not.
 */

import { h } from "./dom.js";
import { spaced } from "./words.js";

const TONES = {
  running: "good", finished: "good", exhausted: "good", healthy: "good", ready: "good", commit: "commit",
  trained: "good", evaluated: "good", applied: "commit", published: "commit", held: "busy", in_flight: "busy", live: "good", serving: "good",
  queued: "wait", waiting_weights: "wait", paused: "wait", waiting: "wait", starting: "wait", stale: "wait",
  updating: "busy", draining: "busy", claimed: "busy", drained: "wait", leaving: "wait",
  cancelled: "gone", gone: "gone", failed: "bad", dead: "bad", suspect: "bad", quarantined: "bad",
  skip: "skip", defer: "defer", evict: "evict", lost: "bad", expired: "wait", rolled_back: "gone",
};

/** @param {string | null} state */
export const badge = (state) =>
  state ? h("span", { class: `badge ${TONES[state] ?? "gone"}` }, spaced(state)) : null;

/** Labels of servers as they are typed, none broken where a line ends. @param {Record<string, string>} labels */
export const labelled = (labels) =>
  Object.entries(labels).flatMap(([name, value], at) => [at > 0 && ", ", h("span", { class: "label" }, `${name}=${value}`)]);

/**
 * How much of a whole, as a bar. Widths are set through the object model: the policy of the page forbids style attributes.
 * @param {{share: number, tone: string, title: string}[]} parts
 * @param {string} label
 */
export function bar(parts, label) {
  const pieces = parts
    .filter((piece) => piece.share > 0)
    .map((piece) => {
      const element = h("span", { class: `piece ${piece.tone}`, title: piece.title });
      element.style.width = `${(100 * Math.min(1, piece.share)).toFixed(2)}%`;
      return element;
    });
  return h("span", { class: "meter", role: "img", "aria-label": label }, pieces);
}
