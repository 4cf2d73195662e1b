// One job: how far it is, then who is in it.

import { again, ask, download, events } from "./api.js";
import { endButton } from "./actions.js";
import { clips } from "./clips.js";
import { h, icon, say, small, text, toast } from "./dom.js";
import { people } from "./people.js";
import { doing, isOver, pill, progressBar, showPill, showProgress } from "./state.js";
import { timeline } from "./timeline.js";
import { ago, many } from "./words.js";

export const FORMATS = [
  ["json", "JSON: the timeline"], ["csv-spans", "CSV: a row per stretch"], ["csv-faces", "CSV: a row per face"],
  ["parquet", "Parquet: a row per face"], ["vtt-chapters", "WebVTT chapters"], ["vtt-metadata", "WebVTT metadata"],
  ["edl", "EDL: DaVinci Resolve"], ["otio", "OpenTimelineIO"], ["mot", "MOT Challenge"],
  ["rekognition", "As Amazon Rekognition"],
];

export function openJob(main, signal, id) {
  const url = `/v1/jobs/${encodeURIComponent(id)}`;
  let job = null;
  let after = "";
  let shown = "";
  let found = "";

  const title = h("h1", {}, h("bdi", {}, "…"));
  const [doingLine, facts] = [h("p", { class: "doing" }), h("p", { class: "soft" })];
  const parts = { pill: pill(), bar: progressBar(), doing: doingLine, facts };
  const end = endButton((now, removed) => {
    if (removed) location.hash = "#/";
    else show(now);
  });
  const head = h("section", { class: "card about", hidden: true },
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
    const told = [ago(job.created), job.attempt > 1 && `attempt ${job.attempt}`, ...settings, found];
    text(parts.facts, told.filter(Boolean).join(" · "));
    end.show(job);
    const wanted = job.state === "done" ? job.kind ?? "process" : "";
    if (wanted === shown) return;
    shown = wanted;
    if (wanted === "process") result();
    else if (wanted === "clip") body.replaceChildren(clips(signal, [job]).element);
    else if (wanted) body.replaceChildren(h("p", { class: "card" }, "A photograph that was sent to a gallery."));
  }

  async function result() {
    const wait = h("p", { class: "soft" }, "Asking who is there …");
    body.replaceChildren(wait);
    let answer;
    try {
      answer = await ask("GET", `${url}/people`, undefined, { signal });
    } catch (error) {
      if (signal.aborted) return;
      shown = "";
      wait.replaceChildren(`${error.message} `, small(null, "Ask again", null, () => show(job)));
      return;
    }
    const lanes = timeline(answer);
    const cut = clips(signal, null, job);
    const cards = people(signal, job, answer.people, {
      named: (person) => lanes.update(person),
      cut: (person) => cut.ask(person),
    });
    found = many(answer.people.length, "person", "people");
    show(job);
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
        const back = h("a", { href: "#/" }, "All jobs");
        const why = h("p", {}, "It was removed, or is somebody else's. ", back);
        main.replaceChildren(h("h1", {}, "There is no such job"), why);
        return;
      }
      if (!(error instanceof TypeError)) throw error;
      // A stream that broke off: the next round asks for it anew.
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
