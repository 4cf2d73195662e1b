// One job: how far it is, then who is in it.

import { again, ask, download, events, link } from "./api.js";
import { endButton } from "./actions.js";
import { clips } from "./clips.js";
import { h, icon, say, text, toast } from "./dom.js";
import { people } from "./people.js";
import { doing, isOver, pill, progressBar, showPill, showProgress } from "./state.js";
import { timeline } from "./timeline.js";
import { ago, count, lasting } from "./words.js";

export const FORMATS = [
  ["json", "JSON: the timeline"], ["csv-spans", "CSV: a row per stretch"], ["csv-faces", "CSV: a row per face"],
  ["parquet", "Parquet: a row per face"], ["vtt-chapters", "WebVTT chapters"], ["vtt-metadata", "WebVTT metadata"],
  ["edl", "EDL: DaVinci Resolve"], ["otio", "OpenTimelineIO"], ["mot", "MOT Challenge"], ["rekognition", "As Amazon Rekognition"],
];

export function openJob(main, signal, id) {
  const url = `/v1/jobs/${encodeURIComponent(id)}`;
  let job = null;
  let after = "";
  let shown = "";

  const title = h("h1", {}, h("bdi", {}, "…"));
  const parts = { pill: pill(), bar: progressBar(), doing: h("p", { class: "doing" }), facts: h("p", { class: "soft" }) };
  const end = endButton((now, removed) => {
    if (removed) location.hash = "#/";
    else show(now);
  });
  const head = h("section", { class: "card head", hidden: true },
    h("div", { class: "bar" }, title, parts.pill, end.button), parts.doing, parts.bar, parts.facts);
  const body = h("div");
  main.append(h("p", { class: "crumb" }, h("a", { href: "#/" }, icon("back"), "All jobs")), head, body);

  function show(now) {
    job = now;
    head.hidden = false;
    head.dataset.state = job.state;
    document.title = `${job.name} – fastface`;
    text(title.firstChild, job.name);
    showPill(parts.pill, job);
    showProgress(parts.bar, job);
    text(parts.doing, doing(job));
    const settings = Object.entries(job.settings).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
    text(parts.facts, [ago(job.created), job.attempt > 1 && `attempt ${job.attempt}`, ...settings].filter(Boolean).join(" · "));
    end.show(job);
    const wanted = job.state === "done" ? job.kind ?? "process" : "";
    if (wanted === shown) return;
    shown = wanted;
    if (wanted === "process") result();
    else if (wanted === "clip") body.replaceChildren(clips(signal, [job]).element);
    else if (wanted === "photo") body.replaceChildren(h("p", { class: "card" }, "A photograph: its faces are in a gallery, or were searched there."));
  }

  async function result() {
    const wait = h("p", { class: "soft" }, "Asking who is there …");
    body.replaceChildren(wait);
    let found;
    try {
      found = await ask("GET", `${url}/people`, undefined, { signal });
    } catch (error) {
      if (signal.aborted) return;
      shown = "";
      wait.replaceChildren(`${error.message} `, h("button", { class: "quiet small", type: "button", onclick: () => show(job) }, "Ask again"));
      return;
    }
    const lanes = timeline(found);
    const cut = clips(signal, null, job);
    const cards = people(signal, job, found.people, {
      named: (person) => lanes.update(person),
      cut: (person) => cut.ask(person),
    });
    const seconds = found.people.reduce((sum, p) => sum + p.seconds, 0);
    text(parts.facts, `${parts.facts.textContent} · ${count(found.people.length)} people, ${lasting(seconds)} on screen`);
    body.replaceChildren(lanes.element, cards.element, cut.element, exports(url));
  }

  async function follow() {
    if (job && isOver(job)) return;
    show(await ask("GET", url, undefined, { signal }));
    if (isOver(job)) return;
    for await (const event of events(`${url}/events`, { signal, after })) {
      after = event.id;
      if (event.event === "progress") {
        const { stage, frames_done, frames_total, fps, seconds_left } = event.data;
        show({ ...job, state: "running", progress: { stage, frames_done, frames_total, fps, seconds_left } });
      } else show(await ask("GET", url, undefined, { signal }));
    }
    show(await ask("GET", url, undefined, { signal }));
    say(`${job.name}: ${job.state}`);
  }

  again(1, async () => {
    try {
      await follow();
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404) {
        main.replaceChildren(h("h1", {}, "There is no such job"), h("p", {}, "It was removed, or is somebody else's. ", h("a", { href: "#/" }, "All jobs")));
        return;
      }
      if (error instanceof TypeError) link.dispatchEvent(new Event("change")); // a stream that broke off: asked for anew
      else throw error;
    }
  }, signal);
}

function exports(url) {
  const format = h("select", { id: "format" }, FORMATS.map(([value, name]) => h("option", { value }, name)));
  const button = h("button", { type: "submit" }, icon("down"), "Download");
  return h("section", { class: "card", "aria-labelledby": "exports" },
    h("h2", { id: "exports" }, "Take it with you"),
    h("form", {
      class: "field",
      onsubmit: async (e) => {
        e.preventDefault();
        button.disabled = true;
        try {
          await download(`${url}/timeline?format=${format.value}`);
        } catch (error) {
          toast(error.message, true);
        }
        button.disabled = false;
      },
    }, h("label", { htmlFor: "format" }, "The timeline as"), format, button));
}
