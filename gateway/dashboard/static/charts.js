// Rolling charts of the last minutes, drawn by uPlot (a classic script: it is in `window`).

import { element, milliseconds, whole, write } from "./format.js";

const SPAN_S = 120;
const GAP_S = 3.5;
const PANELS = [
  { title: "First token", series: ["ttft_p50", "ttft_p99"], text: milliseconds },
  { title: "Between tokens", series: ["itl_p50", "itl_p99"], text: milliseconds, counted: true },
  { title: "Whole request", series: ["total_p50", "total_p99"], text: milliseconds },
  { title: "Tokens per second", series: ["rate"], text: whole },
];
const COLOURS = ["--median", "--worst"];
const NAMES = ["p50", "p99"];

const home = document.getElementById("charts");
const panels = PANELS.map(made);

function made(panel) {
  const card = element("section", "card chart");
  const head = element("div", "head");
  const values = element("p", "values");
  const numbers = panel.series.map((_, at) => {
    const value = element("b");
    const label = element("span", at ? "second" : "first", panel.series.length > 1 ? `${NAMES[at]} ` : "");
    label.append(value);
    values.append(label);
    return value;
  });
  head.append(element("h2", "", panel.title), values);
  const plot = element("div", "plot");
  plot.setAttribute("role", "img");
  const none = plot.appendChild(element("p", "none", "nothing yet"));
  card.append(head, plot);
  home.append(card);
  return { ...panel, plot, numbers, none, chart: null };
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Nice bounds from 0, so that the axis moves seldom. */
function ceiling(most) {
  if (!(most > 1)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [1, 2, 4, 6, 8, 10].find((each) => most <= each * power);
}

function options(panel) {
  const font = `11px ${getComputedStyle(document.body).fontFamily}`; // uPlot scales whole pixels only
  const axis = { stroke: colour("--muted"), font, ticks: { show: false } };
  return {
    width: panel.plot.clientWidth,
    height: panel.plot.clientHeight,
    padding: [8, 6, 0, 0],
    cursor: { show: false },
    legend: { show: false },
    scales: { x: { time: false }, y: { range: (_, __, most) => [0, ceiling(most)] } },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 22,
        gap: 4,
        splits: (u) => [90, 60, 30, 5].map((ago) => u.scales.x.max - ago),
        values: () => ["−90 s", "−60 s", "−30 s", "now"],
      },
      {
        ...axis,
        grid: { stroke: colour("--line"), width: 1 },
        size: 54,
        gap: 6,
        splits: (u) => [0, u.scales.y.max / 2, u.scales.y.max],
        values: (u, splits) => splits.map((value) => label(panel, value, u)),
      },
    ],
    series: [
      {},
      ...panel.series.map((_, at) => ({
        stroke: colour(COLOURS[at]),
        fill: panel.series.length === 1 ? `${colour(COLOURS[at])}1f` : undefined,
        width: 1.5,
        points: { show: false },
      })),
    ],
  };
}

/** An axis has round numbers: no digits that say nothing, and none at all where nothing is drawn. */
function label(panel, value, { scales }) {
  if (!value) return "0";
  if (scales.y.max <= 1) return "";
  if (panel.text === whole) return whole(value);
  return value < 1000 ? `${Number(value.toPrecision(3))} ms` : `${Number((value / 1000).toPrecision(3))} s`;
}

/** Draw the points that there are. */
export function draw(store) {
  const points = padded(store.rows("points"));
  const x = points.map((point) => point.id);
  const now = x.at(-1) ?? 0;
  for (const panel of panels) {
    panel.chart ??= new window.uPlot(options(panel), [[], ...panel.series.map(() => [])], panel.plot);
    const data = panel.series.map((name) => points.map((point) => point[name] ?? null));
    panel.chart.batch(() => {
      panel.chart.setData([x, ...data], false);
      panel.chart.setScale("x", { min: now - SPAN_S, max: now });
    });
    tell(panel, points.at(-1) ?? {}, data.some((values) => values.some((value) => value !== null)), store);
  }
}

/** With a hole where nobody watched. */
function padded(points) {
  return points.flatMap((point, at) => {
    const hole = at && point.id - points[at - 1].id > GAP_S;
    return hole ? [{ id: (point.id + points[at - 1].id) / 2 }, point] : [point];
  });
}

function tell(panel, last, some, store) {
  panel.numbers.forEach((node, at) => write(node, panel.text(last[panel.series[at]])));
  panel.none.hidden = some;
  write(panel.none, panel.counted && !store.hello.counted ? "not counted: --no-metrics" : "nothing yet");
  const parts = panel.numbers.map((node, at) => `${panel.series.length > 1 ? NAMES[at] : "now"} ${node.textContent}`);
  panel.plot.setAttribute("aria-label", `${panel.title} over the last two minutes: ${parts.join(", ")}`);
}

/** Colours and sizes follow the window. */
export function adapt(store) {
  const again = () => {
    for (const panel of panels) {
      panel.chart?.destroy();
      panel.chart = null;
    }
    draw(store);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  new ResizeObserver(() => {
    for (const { chart, plot } of panels) chart?.setSize({ width: plot.clientWidth, height: plot.clientHeight });
  }).observe(home);
}
