// The first page: the machine, what to send, and the jobs.

import { h } from "./dom.js";
import { jobList } from "./jobs.js";
import { machine } from "./machine.js";
import { uploads } from "./upload.js";

export function openOverview(main, signal) {
  const list = jobList(signal);
  main.append(
    h("h1", { class: "hidden" }, "Jobs"),
    machine(signal),
    uploads(list.refresh),
    list.element,
  );
}
