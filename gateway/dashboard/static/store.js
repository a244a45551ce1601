// What the server told: facts, tables whose rows have an order, and its clock.

const TABLES = ["jobs", "workers", "requests", "points"];

export class Store {
  constructor() {
    this.hello = { rate: 0, listed: 0, model: "", models: [], flood: false, counted: true };
    this.clear();
  }

  clear() {
    this.facts = {};
    this.tables = Object.fromEntries(TABLES.map((name) => [name, new Map()]));
    this.offset = -Infinity;
  }

  /** Take an event of the stream; the names of what it changed. */
  apply(event, data) {
    if (event === "hello") {
      this.hello = data;
      return ["hello"];
    }
    if (event === "state") this.clear();
    // The least delayed message tells the server's clock best.
    this.offset = Math.max(this.offset, data.now - performance.now() / 1000);
    Object.assign(this.facts, data.facts);
    const changed = TABLES.filter((name) => name in data);
    for (const name of changed) this.tables[name] = merged(this.tables[name], data[name]);
    return event === "state" ? ["facts", ...TABLES] : data.facts ? ["facts", ...changed] : changed;
  }

  rows(name) {
    return [...this.tables[name].values()];
  }

  /** Seconds on the server's clock. */
  now() {
    return performance.now() / 1000 + this.offset;
  }
}

function merged(rows, { gone = [], set = [], order = null }) {
  for (const id of gone) rows.delete(id);
  for (const row of set) rows.set(row.id, { ...rows.get(row.id), ...row });
  return order ? new Map(order.map((id) => [id, rows.get(id)])) : rows;
}
