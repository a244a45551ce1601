// The queue: each waiting request is a bar that grows as it ages.

import { count, element, priority, seconds, whole, write } from "./format.js";

const FRAME_MS = 60;
const MOVE_MS = 260;
const CLASSES = ["urgent", "normal", "batch", "other"];

const list = document.getElementById("jobs");
const more = document.getElementById("jobs-more");
const empty = document.getElementById("jobs-empty");
const axis = document.getElementById("axis");
const legend = document.getElementById("queue-classes");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** By id: the row's element, its parts, and what it shows. */
const shown = new Map();
let scale = 0;

/** A request's effective priority now; that of a spare one does not grow. */
export const effective = (job, store) =>
  job.priority + (job.spare ? 0 : store.hello.rate * Math.max(0, store.now() - job.placed));

export function arrange(store) {
  const jobs = store.rows("jobs");
  const wanted = new Map(jobs.map((job) => [job.id, job]));
  const before = new Map([...list.children].map((node, at) => [node, at]));
  for (const [id, row] of shown) {
    if (wanted.get(id)?.spare !== row.job.spare) {
      row.node.remove();
      shown.delete(id);
    }
  }
  jobs.forEach((job, at) => {
    const row = shown.get(job.id) ?? made(job);
    row.job = job;
    if (list.children[at] !== row.node) list.insertBefore(row.node, list.children[at] ?? null);
    write(row.rank, at ? String(at + 1) : "next");
    row.parked.hidden = !job.parked;
  });
  if (before.size && !still.matches) jobs.forEach((job, at) => slide(shown.get(job.id).node, before, at));
  empty.hidden = jobs.length > 0;
  axis.hidden = !jobs.length;
  if (!jobs.length) scale = 0;
  const rest = (store.facts.waiting ?? 0) - jobs.length;
  more.hidden = rest <= 0;
  write(more, rest > 0 ? `and ${whole(rest)} more behind them` : "");
  tell(store.facts);
  grow(store);
}

function made(job) {
  const node = element("li", `job ${job.class}${job.spare ? " spare" : ""}`);
  node.dataset.id = job.id;
  node.dataset.class = job.class;
  node.title = `request ${job.name}${job.owner ? ` of ${job.owner}` : ""}, priority ${priority(job.priority)}, model ${job.model}${job.spare ? ", spare: it takes what nothing else wants" : ""}`;
  const rank = element("span", "rank");
  const kind = element("span", "class", job.class === "other" ? priority(job.priority) : job.class);
  const bar = element("span", "bar");
  bar.setAttribute("aria-hidden", "true");
  const base = bar.appendChild(element("i"));
  const gained = bar.appendChild(element("i"));
  const value = element("span", "effective");
  const waited = element("span", "waited");
  const parked = element("span", "parked");
  parked.title = "parked: it had a slot, which somebody more urgent has now";
  parked.append(element("span", "hidden", " parked"));
  kind.append(parked);
  node.append(rank, element("span", "number", `#${job.id}`), kind, bar, value, waited);
  const row = { node, rank, base, gained, value, waited, parked, job };
  shown.set(job.id, row);
  return row;
}

/** From where a row was to where it is; new ones fade in. */
function slide(node, before, at) {
  const from = before.get(node);
  if (from === at) return;
  const frames =
    from === undefined
      ? [{ opacity: 0 }, { opacity: 1 }]
      : [{ transform: `translateY(${(from - at) * node.offsetHeight}px)` }, { transform: "none" }];
  node.animate(frames, { duration: MOVE_MS, easing: "cubic-bezier(0.2, 0, 0, 1)" });
}

/** How many of each class wait. */
function tell(facts) {
  const kinds = CLASSES.filter((kind) => facts[`waiting_${kind}`]);
  while (legend.children.length > kinds.length) legend.lastChild.remove();
  kinds.forEach((kind, at) => {
    const node = legend.children[at] ?? legend.appendChild(element("span"));
    node.className = kind;
    write(node, `${whole(facts[`waiting_${kind}`])} ${kind}`);
  });
  list.setAttribute("aria-label", `${count(facts.waiting ?? 0, "waiting request")}, the next one first`);
}

/** Draw all bars as of now. */
function grow(store) {
  const rows = [...shown.values()];
  if (!rows.length) return;
  const values = rows.map((row) => effective(row.job, store));
  rescale(Math.max(...values));
  rows.forEach((row, at) => {
    const start = Math.max(0.012 * scale, row.job.priority);
    const gained = Math.max(0, values[at] - start);
    row.base.style.width = `${(100 * start) / scale}%`;
    row.gained.style.width = `${(100 * gained) / scale}%`;
    write(row.value, values[at].toFixed(2));
    write(row.waited, seconds(Math.max(0, store.now() - row.job.arrived)));
  });
}

/** The axis only ever grows while there are bars. */
function rescale(highest) {
  if (scale && highest <= scale) return;
  const step = [1, 2, 5, 10, 20, 50, 100, 1000, 1e5, 1e7].find((each) => highest <= 5 * each) ?? highest / 4;
  scale = Math.max(3, step * Math.ceil((highest * 1.02) / step));
  const ticks = [];
  for (let value = 0; value <= scale * 1.0001; value += step) {
    const tick = element("span", "", priority(value));
    tick.style.left = `${(100 * value) / scale}%`;
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}

/** Let the bars grow for ever, while they can be seen. */
export function animate(store) {
  let last = 0;
  const frame = (time) => {
    if (time - last > (still.matches ? 1000 : FRAME_MS)) {
      last = time;
      grow(store);
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
