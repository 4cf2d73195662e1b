// The galleries: people that are known by name over many videos.

import { again, ask } from "./api.js";
import { confirmed, h, icon, say, small, sync, text, toast } from "./dom.js";
import { many } from "./words.js";

export function openGalleries(main, signal) {
  const list = h("ul", { class: "galleries" });
  const empty = h("p", { class: "empty card", hidden: true },
    "There are no galleries yet. One holds people that are known by name over many videos.");
  const name = h("input", { id: "new-gallery", type: "text", autocomplete: "off", maxlength: 100, required: true });
  document.title = "Galleries – fastface";
  main.append(
    h("h1", {}, "Galleries"),
    h("section", { "aria-label": "Galleries" }, empty, list,
      h("form", { class: "card field", onsubmit: make },
        h("label", { htmlFor: "new-gallery" }, "Name of a new gallery"), name,
        h("button", { type: "submit" }, icon("plus"), "Make it"))));

  async function load() {
    const { galleries } = await ask("GET", "/v1/galleries", undefined, { signal });
    empty.hidden = galleries.length > 0;
    sync(list, galleries, (g) => g.name, row, show);
  }

  function show(element, gallery) {
    element.gallery = gallery;
    text(element.told, many(gallery.size, "person", "people"));
  }

  function row(gallery) {
    const told = h("p", { class: "soft" });
    const element = h("li", { class: "card", "data-gallery": gallery.name }, icon("person"),
      h("div", { class: "what" },
        h("a", { href: `#/galleries/${encodeURIComponent(gallery.name)}` }, h("bdi", {}, gallery.name)), told),
      small("bin", "", `Remove ${gallery.name}`, () => remove(element.gallery)));
    element.told = told;
    return element;
  }

  async function make(e) {
    e.preventDefault();
    try {
      await ask("POST", "/v1/galleries", { name: name.value.trim() });
      say(`The gallery ${name.value.trim()} was made`);
      name.value = "";
      await load();
    } catch (error) {
      toast(error.message, true);
    }
  }

  async function remove(gallery) {
    const whole = `“${gallery.name}” with ${many(gallery.size, "person", "people")}`;
    if (!(await confirmed(`Remove the gallery ${whole}?`, "Remove"))) return;
    try {
      await ask("DELETE", `/v1/galleries/${encodeURIComponent(gallery.name)}`);
      say(`The gallery ${gallery.name} is removed`);
      await load();
    } catch (error) {
      toast(error.message, true);
    }
  }

  again(5, load, signal);
}
