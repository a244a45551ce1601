// A message as the page shows it, and what can be done with it.

import { copier } from "../copy.js";
import { element, seconds, whole, write } from "../format.js";
import { Markdown } from "../markdown/markdown.js";
import { ToolCalls } from "./calls.js";

const NAMES = { user: "You", assistant: "Answer", tool: "Result of the tool" };

/** `acts`: what the page does for `retry`, `edit` and `result`. */
export class MessageView {
  constructor(message, acts) {
    this.message = message;
    this.acts = acts;
    this.node = element("article", `message ${message.role}`);
    this.node.setAttribute("aria-label", NAMES[message.role]);
    this.inside = this.node.appendChild(element("div", "inside"));
    if (message.role === "assistant") this.build();
    else this.plain();
    this.foot = this.node.appendChild(element("div", "foot"));
    this.note = this.foot.appendChild(element("span", "note"));
    this.buttons = this.foot.appendChild(element("span", "buttons"));
    this.show();
  }

  /** What a person wrote, or a tool gave: as it is. */
  plain() {
    for (const url of this.message.pictures ?? []) {
      const picture = this.inside.appendChild(element("img"));
      picture.src = url;
      picture.alt = "A picture for the model";
    }
    if (this.message.text) this.inside.append(element("p", "plain", this.message.text));
  }

  build() {
    this.thoughts = this.inside.appendChild(element("details", "thoughts"));
    this.thoughts.hidden = true;
    this.summary = this.thoughts.appendChild(element("summary", "", "Thoughts"));
    this.thinking = new Markdown(this.thoughts.appendChild(element("div", "markdown")));
    this.text = new Markdown(this.inside.appendChild(element("div", "markdown said")));
    this.calls = new ToolCalls(this.inside.appendChild(element("div", "calls")), (call, text) => this.acts.result(call, text));
    this.failure = this.inside.appendChild(element("p", "failure"));
    this.failure.setAttribute("role", "alert");
  }

  /** Draw what is there. `open`: calls that wait for a result. */
  show(open = []) {
    const { message } = this;
    if (message.role !== "assistant") return;
    this.thoughts.hidden = !message.thoughts;
    write(this.summary, message.thoughts && !message.text && this.running ? "Thinking\u2026" : "Thoughts");
    // What is folded is not drawn until it is opened.
    if (this.thoughts.open) this.thinking.show(message.thoughts);
    this.thoughts.ontoggle = () => this.thoughts.open && this.thinking.show(message.thoughts);
    this.text.show(message.text);
    this.calls.show(message.calls, open);
    write(this.failure, message.error ?? "");
    this.failure.hidden = !message.error;
    write(this.note, this.running ? this.pause ?? "" : [message.note, message.error ? "" : told(message.figures)].filter(Boolean).join(" "));
    this.node.setAttribute("aria-busy", String(Boolean(this.running)));
  }

  /** The buttons below it; those of the last turn can do more. */
  offer({ retry = false, edit = false } = {}) {
    const { message } = this;
    const buttons = [];
    if (message.text) buttons.push(copier(() => message.text, `Copy: ${NAMES[message.role]}`));
    if (edit) buttons.push(action("Edit", "Edit your last message", () => this.edit()));
    if (retry) buttons.push(action("Retry", "Retry: make another answer", this.acts.retry));
    this.buttons.replaceChildren(...buttons);
  }

  /** A field in the place of the text. */
  edit() {
    if (this.node.querySelector("form")) return;
    const form = element("form", "edit");
    const field = form.appendChild(element("textarea"));
    field.value = this.message.text;
    field.rows = Math.min(12, field.value.split("\n").length + 1);
    field.setAttribute("aria-label", "Your message");
    const row = form.appendChild(element("div", "row"));
    const close = () => {
      form.remove();
      this.inside.hidden = this.foot.hidden = false;
      this.buttons.querySelector("button:last-child")?.focus();
    };
    row.append(action("Cancel", "", close), element("button", "primary", "Send again"));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.value.trim()) this.acts.edit(field.value.trim());
    });
    this.inside.hidden = this.foot.hidden = true;
    this.node.append(form);
    field.focus();
  }
}

/** A button without a frame. */
export function action(text, label, act) {
  const button = element("button", "quiet", text);
  button.type = "button";
  if (label) button.setAttribute("aria-label", label);
  button.addEventListener("click", act);
  return button;
}

/** The figures of an answer in a line. */
function told(figures) {
  if (!figures) return "Not whole: the page was left, or another tab has it.";
  const { wait, first, tokens, rate } = figures;
  const parts = [
    wait !== null && `waited ${seconds(wait)}`,
    first !== null && `first token after ${seconds(first)}`,
    tokens && `${whole(tokens)} tokens`,
    rate && `${whole(rate)} tokens/s`,
  ];
  return parts.filter(Boolean).join(" \u00b7 ");
}
