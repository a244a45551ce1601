// Tools that an answer calls: name and arguments, and a field for the result, which a person gives.

import { element, write } from "../format.js";

export class ToolCalls {
  /** `give(call, text)`: a result is there. */
  constructor(home, give) {
    this.home = home;
    this.give = give;
    this.rows = [];
  }

  /** Draw the calls; those in `open` wait for a result. */
  show(calls, open) {
    calls.forEach((call, at) => {
      const row = (this.rows[at] ??= this.made());
      write(row.name, call.name || "\u2026");
      write(row.text, pretty(call.arguments));
      row.form.hidden = !open.includes(call);
      row.call = call;
    });
  }

  made() {
    const node = this.home.appendChild(element("details", "call"));
    node.open = true;
    const summary = node.appendChild(element("summary", "", "Calls the tool "));
    const name = summary.appendChild(element("code"));
    const text = node.appendChild(element("pre"));
    text.tabIndex = 0;
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", "Arguments");
    const form = node.appendChild(element("form", "result"));
    form.hidden = true;
    const field = form.appendChild(element("textarea"));
    field.rows = 2;
    field.placeholder = "What the tool gives";
    field.setAttribute("aria-label", "Result of the tool");
    form.append(element("button", "", "Give the result"));
    const row = { node, name, text, form, call: null };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.give(row.call, field.value);
    });
    return row;
  }
}

/** JSON with its lines, once it is whole. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
