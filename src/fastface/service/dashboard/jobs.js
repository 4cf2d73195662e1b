// The list of jobs, newest first.

import { again, ask } from "./api.js";
import { endButton } from "./actions.js";
import { h, icon, say, sync, text } from "./dom.js";
import { doing, isOver, pill, progressBar, showPill, showProgress } from "./state.js";
import { ago } from "./words.js";

const STATES = [
  ["", "All"], ["running", "Running"], ["queued", "Waiting"], ["done", "Done"], ["failed", "Failed"],
  ["cancelled", "Cancelled"],
];
const PAGE = 25;

export function jobList(signal) {
  let first = []; // asked for again and again
  let older = []; // asked for once
  let next = null;
  let wanted = "";
  let known = false;
  const states = new Map();

  const list = h("ul", { class: "jobs" });
  const empty = h("div", { class: "empty card", hidden: true });
  const more = h("button", { class: "quiet", type: "button", hidden: true, onclick: onMore }, "Show older ones");
  const filter = h("select", {
    id: "state", onchange: () => {
      wanted = filter.value;
      [first, older, next, known] = [[], [], null, false];
      draw();
      refresh();
    },
  }, STATES.map(([value, name]) => h("option", { value }, name)));
  const element = h("section", { "aria-labelledby": "jobs" },
    h("div", { class: "bar" }, h("h2", { id: "jobs" }, "Jobs"),
      h("div", { class: "field" }, h("label", { htmlFor: "state" }, "Show"), filter)),
    list, empty, more);

  const address = () => `/v1/jobs?limit=${PAGE}${wanted && `&state=${wanted}`}`;

  async function load() {
    const asked = wanted;
    const page = await ask("GET", address(), undefined, { signal });
    if (asked !== wanted) return;
    first = page.jobs;
    if (!older.length) next = page.next;
    known = true;
    tell();
    draw();
  }

  const refresh = () => load().catch(() => {}); // the rounds below go on, and tell what is wrong

  async function onMore() {
    more.disabled = true;
    try {
      const page = await ask("GET", `${address()}&after=${next}`, undefined, { signal });
      older = [...older, ...page.jobs];
      next = page.next;
      draw();
    } catch {
      // The banner says so; the button is still there.
    }
    more.disabled = false;
  }

  /** Screen readers are told what ended. */
  function tell() {
    for (const job of first) {
      const before = states.get(job.id);
      if (before && before !== job.state && isOver(job)) say(`${job.name}: ${job.state}`);
      states.set(job.id, job.state);
    }
  }

  function row(job) {
    const parts = {
      pill: pill(), bar: progressBar(), doing: h("span", { class: "doing" }), when: h("span", { class: "soft" }),
      end: endButton((now, removed) => {
        if (removed) [first, older] = [first, older].map((jobs) => jobs.filter((j) => j.id !== now.id));
        draw();
        refresh();
      }),
    };
    const element = h("li", { class: "job card", "data-job": job.id },
      h("span", { class: "kind" }, icon(job.kind === "clip" ? "clip" : job.kind === "photo" ? "photo" : "video")),
      h("div", { class: "what" },
        h("a", { href: `#/jobs/${job.id}`, class: "name" }, h("bdi", {}, job.name)),
        h("p", { class: "line" }, parts.doing, parts.when), parts.bar),
      parts.pill, parts.end.button);
    element.parts = parts;
    return element;
  }

  function show(element, job) {
    const { parts } = element;
    element.dataset.state = job.state;
    showPill(parts.pill, job);
    showProgress(parts.bar, job);
    text(parts.doing, doing(job));
    text(parts.when, ago(job.created));
    parts.end.show(job);
  }

  function draw() {
    const ids = new Set(first.map((j) => j.id));
    const jobs = [...first, ...older.filter((j) => !ids.has(j.id))];
    sync(list, jobs, (j) => j.id, row, show);
    empty.hidden = !known || jobs.length > 0;
    const none = "There are no jobs yet. Send a video: what is found in it is shown here.";
    text(empty, wanted ? "There is no such job." : none);
    more.hidden = !next;
  }

  again(() => (first.every(isOver) ? 3 : 1), load, signal);
  return { element, refresh };
}
