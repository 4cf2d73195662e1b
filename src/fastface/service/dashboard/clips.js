// Clips of a person: asked for, followed, played, saved.

import { again, ask, download, file, key } from "./api.js";
import { endButton } from "./actions.js";
import { h, say, small, sync, text, toast } from "./dom.js";
import { doing, isOver, pill, progressBar, showPill, showProgress } from "./state.js";
import { called } from "./words.js";

const WINDOWS = [
  ["", "the whole picture"], ["1080x1080", "a square that follows them"],
  ["608x1080", "an upright window that follows them"], ["1280x720", "a wide window that follows them"],
];

/** jobs: these clips; or `of` a job: all that were cut from it, asked for again and again. */
export function clips(signal, jobs, of = null) {
  let shown = jobs ?? [];
  const list = h("ul", { class: "clips" });
  const empty = h("p", { class: "soft" }, "None yet: choose Clips below a person.");
  const element = h("section", { class: "card", "aria-labelledby": "clips" },
    h("h2", { id: "clips" }, "Clips"), empty, list);

  function row(job) {
    const parts = { pill: pill(), bar: progressBar(), doing: h("span"), screen: h("div", { class: "screen" }) };
    parts.end = endButton((now, removed) => {
      if (removed) shown = shown.filter((j) => j.id !== now.id);
      draw();
      if (removed && !of) location.hash = "#/";
    });
    parts.save = small("down", "Save", `Save ${job.name}`, () => save(element.job));
    const element = h("li", { class: "clip", "data-clip": job.id }, parts.screen,
      h("div", {}, h("bdi", { class: "name" }, job.name), h("p", { class: "line soft" }, parts.doing), parts.bar),
      h("div", { class: "bar" }, parts.pill, parts.save, of && parts.end.button));
    element.parts = parts;
    return element;
  }

  function show(element, job) {
    const { parts } = element;
    element.job = job; // the clip is there only when it is done
    element.dataset.state = job.state;
    showPill(parts.pill, job);
    showProgress(parts.bar, job);
    text(parts.doing, doing(job));
    parts.end.show(job);
    parts.save.hidden = !job.clip;
    if (job.clip && !parts.screen.firstChild) {
      parts.screen.append(h("button", {
        class: "play", type: "button", "aria-label": `Play ${job.name}`, onclick: () => play(parts.screen, job),
      }, "▶"));
    }
  }

  /** With a key the whole file is fetched first: a <video> cannot send one. */
  async function play(screen, job) {
    try {
      const source = key.get() ? URL.createObjectURL((await file(job.clip, { signal })).blob) : job.clip;
      const video = h("video", { src: source, controls: true, autoplay: true, "aria-label": job.name });
      screen.replaceChildren(video);
      video.focus();
    } catch (error) {
      toast(error.message, true);
    }
  }

  async function save(job) {
    try {
      await download(job.clip);
    } catch (error) {
      toast(error.message, true);
    }
  }

  function draw() {
    sync(list, shown, (j) => j.id, row, show);
    empty.hidden = shown.length > 0;
  }

  async function load() {
    shown = (await ask("GET", `/v1/jobs/${of.id}/clips`, undefined, { signal })).jobs;
    draw();
  }

  /** Asks how, in a window, and makes the jobs. */
  async function wanted(person) {
    const follow = h("select", { id: "follow" }, WINDOWS.map(([value, name]) => h("option", { value }, name)));
    const join = h("input", { id: "join", type: "checkbox", checked: true });
    const pad = h("input", { id: "pad", type: "number", min: 0, max: 60, step: 0.1, value: 0.5 });
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "cut-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "cut-title" }, "Clips of ", h("bdi", {}, called(person))),
        h("div", { class: "check" }, join, h("label", { htmlFor: "join" }, "All moments in one file")),
        h("div", {}, h("label", { htmlFor: "pad" }, "Seconds before and after"), pad),
        h("div", {}, h("label", { htmlFor: "follow" }, "Show"), follow),
        h("div", { class: "buttons" },
          h("button", { class: "quiet", value: "no", formnovalidate: true }, "Not now"),
          h("button", { value: "yes" }, "Cut"))));
    document.body.append(dialog);
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve));
    dialog.remove();
    if (dialog.returnValue !== "yes") return;
    const options = { person: person.id, join: join.checked, pad: Number(pad.value) };
    if (follow.value) options.follow = follow.value.split("x").map(Number);
    try {
      const made = await ask("POST", `/v1/jobs/${of.id}/clips`, options);
      say(`${made.jobs.length === 1 ? "A clip is" : "Clips are"} being cut`);
      await load();
      element.scrollIntoView({ block: "nearest" });
    } catch (error) {
      toast(error.message, true);
    }
  }

  if (of) again(() => (shown.every(isOver) ? 5 : 1), load, signal);
  draw();
  return { element, ask: wanted };
}
