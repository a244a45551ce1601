// Wires the parts: what comes from the stream goes into the store, and from there to who shows it.

import * as batches from "./batches.js";
import * as captures from "./captures.js";
import * as chat from "./chat/chat.js";
import * as charts from "./charts.js";
import * as flood from "./flood.js";
import * as heap from "./heap.js";
import * as requests from "./requests.js";
import { Store } from "./store.js";
import { follow } from "./stream.js";
import * as summary from "./summary.js";
import * as usage from "./usage.js";
import * as workers from "./workers.js";

const store = new Store();

/** Who shows what, called when that changed. */
const SHOWS = [
  [
    ["hello"],
    () => {
      for (const part of [chat, batches, captures, usage]) part.offer(store.hello);
      summary.greet(store.hello);
    },
  ],
  [["facts", "points"], () => summary.summarise(store)],
  [["jobs", "facts"], () => heap.arrange(store)],
  [["workers", "facts"], () => workers.show(store)],
  [["points"], () => charts.draw(store)],
  [["requests"], () => requests.list(store)],
];

charts.draw(store);
charts.adapt(store);
heap.animate(store);
chat.start(store);
flood.start(store);
setInterval(() => requests.age(store), 1000);
follow((event, data) => {
  const changed = store.apply(event, data);
  for (const [names, show] of SHOWS) if (names.some((name) => changed.includes(name))) show();
});
