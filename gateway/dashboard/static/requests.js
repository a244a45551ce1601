// The table of requests that ended, the newest first.

import { ago, element, priority, seconds, whole, write } from "./format.js";

const body = document.getElementById("requests");
const empty = document.getElementById("requests-empty");
/** By id: the row and the cell that tells how long ago it was. */
const shown = new Map();

export function list(store) {
  const requests = store.rows("requests");
  const wanted = new Set(requests.map((request) => request.id));
  for (const [id, row] of shown) {
    if (!wanted.has(id)) {
      row.node.remove();
      shown.delete(id);
    }
  }
  for (const request of requests) {
    if (!shown.has(request.id)) body.prepend(made(request));
  }
  empty.hidden = requests.length > 0;
  age(store);
}

function made(request) {
  const node = element("tr");
  node.dataset.id = request.id;
  node.title = `request ${request.name}${request.owner ? ` of ${request.owner}` : ""}`;
  const ended = element("td", "wide dim");
  const kind = element("td");
  const name = request.class === "other" ? priority(request.priority) : request.class;
  kind.append(element("span", `class ${request.class}`, name));
  const prompt = element("td", "wide", whole(request.prompt_tokens));
  if (request.cached_tokens) prompt.title = `${whole(request.cached_tokens)} of them cached`;
  node.append(
    element("td", "", `#${request.id}`),
    kind,
    prompt,
    element("td", "", whole(request.tokens)),
    element("td", "", seconds(request.wait)),
    element("td", "", seconds(request.ttft)),
    element("td", "wide", seconds(request.total)),
    element("td", "wide", whole(request.rate)),
    element("td", `text ${request.outcome}`, request.outcome),
    ended,
  );
  shown.set(request.id, { node, ended, at: request.ended });
  return node;
}

/** How long ago, as of now. */
export function age(store) {
  for (const { ended, at } of shown.values()) write(ended, ago(store.now() - at));
}
