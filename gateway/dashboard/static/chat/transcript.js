// The messages of the conversation that is open, and what stands there before there are any.

import { seconds, whole } from "../format.js";
import { unanswered } from "./conversation.js";
import { MessageView } from "./message.js";

const PAUSE_S = 1.2;
const FRAME_MS = 60;
/** The pause between two drawings, in durations of one: a long answer leaves the page its time. */
const REST = 4;
const NEAR = 48;

const log = document.getElementById("chat-log");
const welcome = document.getElementById("chat-welcome");

export class Transcript {
  constructor(acts) {
    this.acts = acts;
    this.views = [];
    this.due = 0;
  }

  /** Show a conversation from its beginning. */
  open(conversation, running) {
    log.replaceChildren(welcome);
    this.views = [];
    this.conversation = conversation;
    this.extend(running);
    log.scrollTop = log.scrollHeight;
  }

  /** Show messages that were added, and leave out those that went. */
  extend(running) {
    const { messages } = this.conversation;
    const same = this.views.findIndex(({ message }, at) => message !== messages[at]);
    const kept = same < 0 ? this.views.length : same;
    for (const view of this.views.splice(kept)) view.node.remove();
    for (const message of messages.slice(kept)) {
      const view = new MessageView(message, this.acts);
      this.views.push(view);
      log.append(view.node);
    }
    welcome.hidden = messages.length > 0;
    this.refresh(running);
    log.scrollTop = log.scrollHeight;
  }

  /** What can be done with each message now. */
  refresh(running) {
    const { messages } = this.conversation;
    const asked = messages.findLastIndex(({ role }) => role === "user");
    this.views.forEach((view, at) => {
      const last = at === messages.length - 1;
      view.running = running?.message === view.message ? running : null;
      view.show(running || view.message.role !== "assistant" ? [] : unanswered(messages, at));
      view.offer(running ? {} : { retry: last && view.message.role !== "tool", edit: at === asked });
    });
    log.setAttribute("aria-busy", String(Boolean(running)));
  }

  edit() {
    this.views.findLast(({ message }) => message.role === "user")?.edit();
  }

  /** Draw the answer that grows, not more often than the page bears. */
  grow(running, waiting) {
    const now = performance.now();
    if (now < this.due) return;
    const view = this.views.find(({ message }) => message === running.message);
    if (!view) return;
    const low = log.scrollTop + log.clientHeight >= log.scrollHeight - NEAR;
    view.pause = pause(running.course, waiting);
    view.show();
    if (low) log.scrollTop = log.scrollHeight;
    const end = performance.now();
    this.due = end + Math.max(FRAME_MS, REST * (end - now));
  }
}

/** Why nothing comes, if that takes longer than between two tokens. */
function pause(course, waiting) {
  const silence = course.silence();
  if (course.first !== null) return silence > PAUSE_S ? `Pausing for ${seconds(silence)}: the answer goes on by itself.` : "";
  if (silence < PAUSE_S / 4) return "";
  return waiting ? `Waiting for ${seconds(silence)}, with ${whole(waiting)} in the queue.` : `Waiting for ${seconds(silence)}.`;
}
