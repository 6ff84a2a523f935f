/**
 * Charts.
 *
 * Owns: how data is drawn, with uPlot. Never computes it. Invariant: a chart follows the width of its place and the
 * colours of the theme, and its numbers can be read without seeing it.
 */

import { h, replace } from "./dom.js";
import { colour, onChange } from "./theme.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

const HEIGHT = 190;
const FONT = "11px system-ui, sans-serif";

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {string} colour Its name in the style sheet.
 * @property {boolean} [filled] Down to zero.
 * @property {boolean} [dashed]
 * @property {boolean} [points] Each value is marked.
 */

/**
 * @typedef {object} Plan
 * @property {string} title
 * @property {string} [hint] What is on the axes.
 * @property {Series[]} series
 * @property {(value: number) => string} format Of values.
 * @property {(x: number) => string} place Of a place on the x axis.
 * @property {(x: number) => string} [mark] Of a mark on the x axis; as `place` by default.
 * @property {boolean} [time] Whether x is seconds since the epoch.
 * @property {boolean} [bars]
 * @property {boolean} [stacked] Each series is shown on top of the ones before it.
 * @property {number} [most] The end of the y axis at least.
 * @property {string} empty What is said before there is data.
 */

/**
 * A chart with its title, legend and place.
 * @param {Plan} plan
 * @param {AbortSignal} signal
 * @returns {{element: HTMLElement, set: (data: (number | null)[][], summary: string) => void}}
 */
export function chart(plan, signal) {
  const legend = h("ul", { class: "legend", "aria-hidden": "true" });
  const place = h("div", { class: "plot" });
  const element = h(
    "figure",
    { class: "card chart" },
    h("figcaption", {}, h("h3", {}, plan.title), plan.hint && h("span", { class: "hint" }, plan.hint)),
    place,
    legend,
  );
  /** @type {uPlot | null} */
  let plot = null;
  /** @type {(number | null)[][]} */
  let data = [];

  const draw = () => {
    plot?.destroy();
    plot = null;
    if (!place.isConnected || !data[0]?.length) {
      replace(place, h("p", { class: "empty" }, plan.empty));
      replace(legend);
      return;
    }
    replace(place);
    plot = new uPlot(options(plan, place.clientWidth, (index) => tellLegend(legend, plan, data, index)), drawn(plan, data), place);
    tellLegend(legend, plan, data, null);
  };
  const sized = new ResizeObserver(() => plot?.setSize({ width: place.clientWidth, height: HEIGHT }));
  sized.observe(place);
  onChange(signal, draw);
  signal.addEventListener("abort", () => {
    sized.disconnect();
    plot?.destroy();
  });
  return {
    element,
    set(next, summary) {
      data = next;
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", summary);
      if (plot && data[0].length) {
        plot.setData(drawn(plan, data));
        tellLegend(legend, plan, data, null);
      } else draw();
    },
  };
}

/** What uPlot draws: stacked series as their sums, the tallest first so that the lower ones lie before it. */
function drawn(/** @type {Plan} */ plan, /** @type {(number | null)[][]} */ data) {
  if (!plan.stacked) return data;
  const [xs, ...series] = data;
  const sums = series.map((_, last) => xs.map((_, at) => series.slice(0, last + 1).reduce((sum, one) => sum + one[at], 0)));
  return [xs, ...sums.reverse()];
}

/** @param {Plan} plan @param {number} width @param {(index: number | null) => void} onPoint */
function options(plan, width, onPoint) {
  const axis = { stroke: colour("faint"), font: FONT, ticks: { show: false }, gap: 6 };
  const series = plan.stacked ? [...plan.series].reverse() : plan.series;
  return {
    width,
    height: HEIGHT,
    padding: [10, plan.time ? 28 : 14, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
    scales: {
      x: { time: plan.time ?? false, range: plan.bars ? around : plan.time ? undefined : spread },
      y: { range: (_, low, high) => [0, Math.max(plan.most ?? 0, high * 1.08 || 1)] },
    },
    axes: [
      { ...axis, size: 28, grid: { show: false }, values: (_, xs) => xs.map(plan.mark ?? plan.place), space: plan.time ? 90 : 64 },
      { ...axis, size: 52, grid: { stroke: colour("line"), width: 1 }, values: (_, ys) => ys.map(plan.format), space: 34 },
    ],
    series: [{}, ...series.map((one) => stroke(plan, one))],
    hooks: { setCursor: [(/** @type {uPlot} */ plot) => onPoint(plot.cursor.idx)] },
  };
}

/** A single place still gets an axis around it. */
const spread = (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]);

/** Bars lie around their places: the first and the last need room beyond theirs. */
const around = (plot, low, high) => {
  const half = (high - low) / (2 * Math.max(1, plot.data[0].length - 1));
  return [low - half, high + half];
};

/** @param {Plan} plan @param {Series} one */
function stroke(plan, one) {
  const ink = colour(one.colour);
  return {
    label: one.label,
    stroke: ink,
    width: plan.bars ? 0 : one.dashed ? 1 : 2,
    dash: one.dashed ? [5, 5] : undefined,
    fill: plan.bars || plan.stacked ? ink : one.filled ? `${ink}22` : undefined,
    points: { show: one.points ?? false, size: 6, fill: ink },
    paths: plan.bars ? uPlot.paths.bars({ size: [0.82, 64], radius: 0.08 }) : undefined,
    spanGaps: true,
  };
}

/** @param {HTMLElement} legend @param {Plan} plan @param {(number | null)[][]} data @param {number | null} index */
function tellLegend(legend, plan, data, index) {
  const at = index ?? data[0].length - 1;
  const value = (/** @type {number} */ series) => {
    const found = data[series + 1][at];
    return found === null || found === undefined ? "–" : plan.format(found);
  };
  const reads = plan.bars && index === null ? null : plan.place(data[0][at]);
  replace(
    legend,
    plan.series.map((one, series) => data[series + 1].some((found) => found !== null) &&
      h("li", {}, h("i", { class: `swatch ${one.colour}` }), one.label, reads !== null && h("b", {}, value(series))),
    ),
    reads !== null && h("li", { class: "place" }, reads),
  );
}
