// Which page is shown, the key, and whether the service answers.

import { key, link } from "./api.js";
import { h, say, text } from "./dom.js";
import { openGalleries } from "./galleries.js";
import { openGallery } from "./gallery.js";
import { openJob } from "./job.js";
import { openOverview } from "./overview.js";

const main = document.querySelector("#main");
let leave = new AbortController();

function openPage() {
  leave.abort();
  leave = new AbortController();
  const [, page = "", name = ""] = location.hash.slice(1).split("/");
  main.replaceChildren();
  document.title = "fastface";
  for (const [id, here] of [["nav-jobs", page !== "galleries"], ["nav-galleries", page === "galleries"]]) {
    const anchor = document.querySelector(`#${id}`);
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  const { signal } = leave;
  if (page === "") openOverview(main, signal);
  else if (page === "jobs" && name) openJob(main, signal, decodeURIComponent(name));
  else if (page === "galleries" && name) openGallery(main, signal, decodeURIComponent(name));
  else if (page === "galleries") openGalleries(main, signal);
  else main.append(h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "All jobs")));
}

addEventListener("hashchange", () => {
  openPage();
  scrollTo(0, 0);
  main.focus(); // where a reader goes on
});

const skip = document.querySelector("#skip");
skip.addEventListener("click", (e) => {
  e.preventDefault(); // the address says which page is open
  main.focus();
});

// The key

const form = document.querySelector("#keys");
const field = document.querySelector("#key");
const button = document.querySelector("#key-button");

form.addEventListener("submit", (e) => {
  e.preventDefault();
  if (!field.value.trim()) return field.focus();
  key.set(field.value.trim());
  field.value = "";
  form.hidden = true;
  openPage();
});
document.querySelector("#forget").addEventListener("click", () => {
  key.set("");
  form.hidden = true;
  openPage();
  button.focus();
});
button.addEventListener("click", () => {
  form.hidden = !form.hidden;
  if (!form.hidden) field.focus();
});

// Whether the service answers

const WORDS = { online: "live", offline: "no answer", locked: "key needed" };
const BANNERS = {
  online: "",
  offline: "The service does not answer. What is shown is what was known last; this page goes on asking.",
  locked: "This service asks for a key.",
};

function linked() {
  const badge = document.querySelector("#link");
  const banner = document.querySelector("#banner");
  badge.dataset.state = link.state;
  text(document.querySelector("#link-text"), WORDS[link.state]);
  text(banner, link.state === "locked" && key.get() ? "The service does not know this key." : BANNERS[link.state]);
  banner.hidden = !banner.textContent;
  if (link.state === "locked" && form.hidden) {
    form.hidden = false;
    field.focus();
  }
  if (link.state === "online" && badge.dataset.was === "offline") say("The service answers again.");
  badge.dataset.was = link.state;
}
link.addEventListener("change", linked);

linked();
openPage();
