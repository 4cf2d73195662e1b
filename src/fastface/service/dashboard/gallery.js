// One gallery: who is in it, adding people by a photograph, and asking who is in another.

import { again, ask } from "./api.js";
import { confirmed, h, icon, say, small, sync, text, toast } from "./dom.js";
import { many } from "./words.js";

export function openGallery(main, signal, gallery) {
  const url = `/v1/galleries/${encodeURIComponent(gallery)}`;
  const told = h("p", { class: "soft" });
  const list = h("ul", { class: "known" });
  const matches = h("ul", { class: "matches" });
  document.title = `${gallery} – fastface`;
  main.append(
    h("p", { class: "crumb" }, h("a", { href: "#/galleries" }, icon("back"), "All galleries")),
    h("h1", {}, h("bdi", {}, gallery)),
    h("section", { class: "card", "aria-labelledby": "known" },
      h("div", { class: "bar" }, h("h2", { id: "known" }, "People"), told), list),
    h("div", { class: "two" },
      photograph("add", "Add a person", "Add", "Their name", add),
      photograph("search", "Who is this?", "Search", null, search, matches)));

  function photograph(id, title, verb, label, work, ...more) {
    const file = h("input", { id: `${id}-photo`, type: "file", accept: "image/*", required: true });
    const name = label &&
      h("input", { id: `${id}-name`, type: "text", maxlength: 200, autocomplete: "off", required: true });
    const button = h("button", { type: "submit" }, verb);
    const form = h("form", {
      onsubmit: async (e) => {
        e.preventDefault();
        button.disabled = true;
        try {
          await work(file.files[0], name?.value.trim());
          form.reset();
        } catch (error) {
          toast(error.message, true);
        }
        button.disabled = false;
      },
    }, name && h("div", {}, h("label", { htmlFor: name.id }, label), name),
    h("div", {}, h("label", { htmlFor: file.id }, "A photograph with one face"), file), h("div", {}, button));
    return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), form, ...more);
  }

  async function load() {
    try {
      const { people } = await ask("GET", url, undefined, { signal });
      text(told, many(people.length, "person", "people"));
      sync(list, people, (p) => p.person, row, show);
    } catch (error) {
      if (error.status !== 404) throw error;
      const back = h("a", { href: "#/galleries" }, "All galleries");
      main.replaceChildren(h("h1", {}, "There is no such gallery"), h("p", {}, back));
    }
  }

  async function add(photo, name) {
    await ask("POST", `${url}/people?name=${encodeURIComponent(name)}`, photo);
    say(`${name} was added`);
    await load();
  }

  async function search(photo) {
    const found = (await ask("POST", `${url}/search`, photo)).matches;
    matches.replaceChildren(...found.map((m) => h("li", {},
      h("bdi", {}, m.name ?? m.person),
      h("span", { class: "soft" }, `similarity ${m.similarity.toFixed(2)}${m.known ? "" : ", too little to tell"}`))));
    if (!found.length) matches.append(h("li", {}, "Nobody in this gallery."));
    say(found.length ? `The most similar is ${found[0].name ?? found[0].person}` : "Nobody in this gallery");
  }

  function row(person) {
    const who = person.name ?? person.person;
    const name = h("input", { type: "text", maxlength: 200, autocomplete: "off", dir: "auto" });
    name.setAttribute("aria-label", `Name of ${who}`);
    const facts = h("span", { class: "soft" });
    const element = h("li", { "data-person": person.person }, name, facts,
      small("bin", "Remove", `Remove ${who}`, () => remove(element.person)));
    const keep = async () => {
      const value = name.value.trim();
      if (!value || value === element.person.name) return void (name.value = element.person.name ?? "");
      try {
        await ask("PATCH", `${url}/people/${encodeURIComponent(element.person.person)}`, { name: value });
        element.person = { ...element.person, name: value };
        say(`Named ${value}`);
        await load(); // the name is the number of who has one
      } catch (error) {
        toast(error.message, true);
        name.value = element.person.name ?? "";
      }
    };
    name.addEventListener("blur", keep);
    name.addEventListener("keydown", (e) => {
      if (e.key === "Enter") keep();
      else if (e.key === "Escape") name.value = element.person.name ?? "";
    });
    Object.assign(element, { name, facts });
    return element;
  }

  function show(element, person) {
    element.person = person;
    if (document.activeElement !== element.name) element.name.value = person.name ?? "";
    element.name.placeholder = person.person;
    text(element.facts, many(person.vectors, "picture"));
  }

  async function remove(person) {
    if (!(await confirmed(`Remove “${person.name ?? person.person}” from this gallery?`, "Remove"))) return;
    try {
      await ask("DELETE", `${url}/people/${encodeURIComponent(person.person)}`);
      say("Removed");
      await load();
    } catch (error) {
      toast(error.message, true);
    }
  }

  again(10, load, signal);
}
