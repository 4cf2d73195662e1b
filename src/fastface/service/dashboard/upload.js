// Sending videos: by dropping files, by choosing them, or by naming one that the service can read itself.

import { again, ask, send } from "./api.js";
import { h, icon, say, set, small, sync, text, toast } from "./dom.js";
import { progressBar } from "./state.js";
import { bytes, lasting } from "./words.js";

const AT_ONCE = 2;

let made = null;

/** One for all pages: what is being sent goes on while another page is looked at. `sent()`: a job was made. */
export function uploads(sent) {
  made ??= create();
  made.sent = sent;
  return made.element;
}

function create() {
  const self = { sent: () => {} };
  const { signal } = new AbortController(); // it never ends
  let number = 0;
  const waiting = [];
  let items = [];

  const input = h("input", {
    type: "file", id: "files", class: "hidden", multiple: true, accept: "video/*,.mkv,.ts,.mxf,.h264,.hevc",
    onchange: () => {
      add(input.files);
      input.value = "";
    },
  });
  const every = h("input", { id: "every", type: "number", min: 1, max: 1000, value: 1, inputmode: "numeric" });
  const size = h("input", { id: "size", type: "number", min: 12, max: 4096, value: 20, inputmode: "numeric" });
  const gallery = h("select", { id: "gallery" }, h("option", { value: "" }, "nobody: people have numbers"));
  const path = h("input", { id: "path", type: "text", autocomplete: "off", spellcheck: "false" });
  const list = h("ul", { class: "uploads" });
  const zone = h("div", { class: "drop" },
    icon("up"),
    h("p", {}, h("label", { htmlFor: "files", class: "button" }, "Choose videos"), input,
      h("span", { class: "fine" }, " or drop them here")));
  const element = h("section", { class: "card send", "aria-labelledby": "send" },
    h("h2", { id: "send", class: "hidden" }, "Send a video"), zone, list,
    h("details", { class: "more" }, h("summary", {}, "Settings, or a video that is on the service's disk"),
      h("div", { class: "settings" },
        h("div", {}, h("label", { htmlFor: "every" }, "Look for faces in every … frame"), every),
        h("div", {}, h("label", { htmlFor: "size" }, "Smallest face, pixels"), size),
        h("div", {}, h("label", { htmlFor: "gallery" }, "Name people after the gallery of"), gallery)),
      h("form", { class: "field", onsubmit: byPath },
        h("label", { htmlFor: "path" }, "Video under the service's root"), path,
        h("button", { type: "submit" }, "Begin"))));

  /** What differs from the service's own choice; null: a number is none. */
  function settings() {
    for (const field of [every, size]) {
      if (!field.reportValidity()) return null;
    }
    return {
      ...(every.value && every.value !== "1" ? { every: Number(every.value) } : {}),
      ...(size.value && size.value !== "20" ? { min_face_size: Number(size.value) } : {}),
      ...(gallery.value ? { gallery: gallery.value } : {}),
    };
  }

  function add(files) {
    const chosen = settings();
    if (!chosen) return;
    for (const file of files) {
      const item = { id: (number += 1), file, settings: chosen, state: "waiting", done: 0 };
      items.push(item);
      waiting.push(item);
    }
    draw();
    next();
  }

  async function next() {
    if (items.filter((i) => i.state === "sending").length >= AT_ONCE || !waiting.length) return;
    const item = waiting.shift();
    const query = new URLSearchParams({ name: item.file.name, settings: JSON.stringify(item.settings) });
    const type = item.file.type.startsWith("video/") ? item.file.type : "application/octet-stream";
    item.state = "sending";
    item.begun = performance.now();
    item.sending = send(`/v1/jobs?${query}`, item.file, type, (done) => {
      item.done = done;
      draw();
    });
    draw();
    next();
    try {
      await item.sending.done;
      items = items.filter((i) => i !== item);
      say(`${item.file.name} was sent`);
      self.sent();
    } catch (error) {
      item.state = "failed";
      item.why = error.message;
      if (error.code === "stopped") items = items.filter((i) => i !== item);
      else say(`${item.file.name} was not sent: ${error.message}`);
    }
    draw();
    next();
  }

  function drop(item) {
    if (item.state === "sending") item.sending.stop();
    else {
      items = items.filter((i) => i !== item);
      if (waiting.includes(item)) waiting.splice(waiting.indexOf(item), 1);
      draw();
    }
  }

  async function byPath(e) {
    e.preventDefault();
    const chosen = settings();
    if (!chosen || !path.value.trim()) return path.focus();
    try {
      await ask("POST", "/v1/jobs", { path: path.value.trim(), settings: chosen });
      path.value = "";
      say("The job was made");
      self.sent();
    } catch (error) {
      toast(error.message, true);
    }
  }

  function row(item) {
    const bar = progressBar();
    bar.setAttribute("aria-label", `Sending ${item.file.name}`);
    const told = h("span", { class: "soft" });
    const stop = small("close", h("span"), "", () => drop(item));
    const element = h("li", {},
      h("div", { class: "what" }, h("bdi", { class: "name" }, item.file.name), h("p", { class: "line" }, told), bar),
      stop);
    element.parts = { bar, told, stop };
    return element;
  }

  function show(element, item) {
    const { bar, told, stop } = element.parts;
    const share = item.file.size ? Math.min(1, item.done / item.file.size) : 0;
    element.dataset.state = item.state;
    bar.hidden = item.state === "failed";
    bar.firstChild.style.width = `${100 * share}%`;
    set(bar, { "aria-valuenow": Math.round(100 * share) });
    text(stop.lastChild, item.state === "failed" ? "Dismiss" : "Stop");
    stop.setAttribute("aria-label", `${item.state === "failed" ? "Dismiss" : "Stop sending"} ${item.file.name}`);
    const seconds = (performance.now() - item.begun) / 1000;
    const more = (seconds * (item.file.size - item.done)) / item.done;
    const left = item.done && seconds > 1 ? ` · ${lasting(more)} left` : "";
    text(told, item.state === "failed" ? item.why
      : item.state === "waiting" ? "waits"
      : share === 1 ? "sent; the service looks at it"
      : `${bytes(item.done)} of ${bytes(item.file.size)}${left}`);
  }

  const draw = () => sync(list, items, (i) => i.id, row, show);

  // A file that misses the field would else replace the page.
  let inside = 0;
  const over = (e) => [...(e.dataTransfer?.types ?? [])].includes("Files");
  const on = (name, work) => addEventListener(name, (e) => over(e) && (e.preventDefault(), work(e)));
  const mark = (change) => zone.classList.toggle("over", (inside = Math.max(0, inside + change)) > 0);
  on("dragenter", () => mark(1));
  on("dragover", () => {});
  on("dragleave", () => mark(-1));
  on("drop", (e) => {
    mark(-inside);
    if (element.isConnected) add(e.dataTransfer.files);
  });
  addEventListener("beforeunload", (e) => items.some((i) => i.state === "sending") && e.preventDefault());

  again(() => (element.isConnected ? 30 : 1), async () => {
    if (!element.isConnected) return;
    const { galleries } = await ask("GET", "/v1/galleries", undefined, { signal });
    const chosen = gallery.value;
    gallery.replaceChildren(gallery.firstChild, ...galleries.map((g) => h("option", { value: g.name }, g.name)));
    gallery.value = galleries.some((g) => g.name === chosen) ? chosen : "";
  }, signal);
  return Object.assign(self, { element });
}
